//! What makes a token valid.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use hmac::{Hmac, Mac};
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;

/// What a token has to be.
pub struct Expected {
    /// The key it is signed with.
    pub key: Vec<u8>,
    /// Who has issued it.
    pub issuer: Option<String>,
    /// Whom it is for.
    pub audience: Option<String>,
    /// How far clocks may differ, in seconds.
    pub leeway: u64,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Extensions that have to be understood (RFC 7515 section 4.1.11): none is.
    crit: Option<Value>,
}

impl Expected {
    /// The claims of a token, or why it does not count. `now` is in seconds since 1970.
    pub fn verify(&self, token: &str, now: u64) -> Result<Value, &'static str> {
        let (signed, signature) = token.rsplit_once('.').ok_or("it is no token")?;
        let (header, claims) = signed.split_once('.').ok_or("it is no token")?;
        let header: Header = decode(header).ok_or("its header cannot be read")?;
        if header.alg != "HS256" || header.crit.is_some() {
            return Err("its algorithm is not HS256");
        }
        let signature = BASE64_URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| "its signature is wrong")?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).map_err(|_| "the key is none")?;
        mac.update(signed.as_bytes());
        // In a time that does not depend on where the two differ.
        mac.verify_slice(&signature)
            .map_err(|_| "its signature is wrong")?;

        let claims: Value = decode(claims).ok_or("its claims cannot be read")?;
        self.check(&claims, now)?;
        Ok(claims)
    }

    fn check(&self, claims: &Value, now: u64) -> Result<(), &'static str> {
        match time(claims, "exp")? {
            None => return Err("it never expires"),
            Some(until) if until.saturating_add(self.leeway) <= now => {
                return Err("it has expired");
            }
            Some(_) => {}
        }
        if time(claims, "nbf")?.is_some_and(|from| from > now.saturating_add(self.leeway)) {
            return Err("it is not valid yet");
        }
        let is = |value: &Value, text: &str| value.as_str() == Some(text);
        if let Some(issuer) = &self.issuer {
            if !claims.get("iss").is_some_and(|iss| is(iss, issuer)) {
                return Err("another has issued it");
            }
        }
        if let Some(audience) = &self.audience {
            let meant = claims.get("aud").is_some_and(|aud| match aud.as_array() {
                Some(several) => several.iter().any(|aud| is(aud, audience)),
                None => is(aud, audience),
            });
            if !meant {
                return Err("it is for another");
            }
        }
        Ok(())
    }
}

/// A claim that is a time; fractions of a second count for nothing.
fn time(claims: &Value, name: &str) -> Result<Option<u64>, &'static str> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    if let Some(seconds) = value.as_u64() {
        return Ok(Some(seconds));
    }
    match value.as_f64() {
        Some(seconds) if (0.0..1e15).contains(&seconds) => Ok(Some(seconds as u64)),
        _ => Err("a time in it is none"),
    }
}

fn decode<T: serde::de::DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
