//! `google.protobuf.Duration` on the wire, `250ms`, `2s` or `1m30s` in JSON and YAML.

use std::{fmt, str::FromStr, time};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A span of time: the message `google.protobuf.Duration`, written as people write it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Duration {
    /// Whole seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds on top of them, 0 to 999,999,999.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// Why a text or a message is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseDurationError {
    /// The text is not a sequence of numbers with units.
    Syntax,
    /// Below zero, or nanoseconds out of their range.
    Range,
}

impl fmt::Display for ParseDurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => {
                "not a duration: write numbers with units (h, m, s, ms, us, ns), such as \"250ms\", \"2s\" or \"1m30s\""
            }
            Self::Range => "a duration must be between 0s and 87600h",
        })
    }
}

impl std::error::Error for ParseDurationError {}

/// Ten years: longer is a mistake, and keeps every sum of durations in range.
const MAX_SECONDS: i64 = 87_600 * 3600;
const UNITS: [(&str, u128); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

impl TryFrom<Duration> for time::Duration {
    type Error = ParseDurationError;

    fn try_from(value: Duration) -> Result<Self, Self::Error> {
        let seconds = u64::try_from(value.seconds).map_err(|_| ParseDurationError::Range)?;
        let nanos = u32::try_from(value.nanos).map_err(|_| ParseDurationError::Range)?;
        if nanos > 999_999_999 || value.seconds > MAX_SECONDS {
            return Err(ParseDurationError::Range);
        }
        Ok(Self::new(seconds, nanos))
    }
}

impl FromStr for Duration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(ParseDurationError::Syntax);
        }
        if rest.starts_with('-') {
            return Err(ParseDurationError::Range);
        }
        let mut nanos: u128 = 0;
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(rest.len());
            let (number, tail) = rest.split_at(digits);
            let unit_end = tail
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_end);
            let (_, scale) = UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or(ParseDurationError::Syntax)?;
            nanos = nanos
                .checked_add(scaled(number, *scale).ok_or(ParseDurationError::Syntax)?)
                .ok_or(ParseDurationError::Range)?;
            rest = tail;
        }
        let seconds =
            i64::try_from(nanos / 1_000_000_000).map_err(|_| ParseDurationError::Range)?;
        if seconds > MAX_SECONDS {
            return Err(ParseDurationError::Range);
        }
        let nanos = i32::try_from(nanos % 1_000_000_000).map_err(|_| ParseDurationError::Range)?;
        Ok(Self { seconds, nanos })
    }
}

/// `number` (digits, possibly with a decimal point) times `scale`, exact to the nanosecond.
fn scaled(number: &str, scale: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || whole.len() > 18 || fraction.len() > 9 {
        return None;
    }
    let power = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let parts: u128 = fraction.parse().ok()?;
    if !(parts * scale).is_multiple_of(power) {
        return None;
    }
    Some(whole.parse::<u128>().ok()? * scale + parts * scale / power)
}

/// The shortest sequence of whole numbers with units: `1m30s`, `250ms`, `0s`.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = u128::try_from(self.seconds).map_err(|_| fmt::Error)?;
        let mut rest =
            seconds * 1_000_000_000 + u128::try_from(self.nanos).map_err(|_| fmt::Error)?;
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, scale) in UNITS {
            if rest / scale > 0 {
                write!(f, "{}{unit}", rest / scale)?;
                rest %= scale;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.seconds < 0 || self.nanos < 0 {
            return Err(serde::ser::Error::custom(ParseDurationError::Range));
        }
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Duration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"250ms\", \"2s\" or \"1m30s\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print_as_people_write_them() {
        for (text, canonical) in [
            ("250ms", "250ms"),
            ("2s", "2s"),
            ("90s", "1m30s"),
            ("1m30s", "1m30s"),
            ("1.5s", "1s500ms"),
            ("0.250s", "250ms"),
            ("0s", "0s"),
            ("24h", "24h"),
            ("1us", "1us"),
        ] {
            assert_eq!(
                text.parse::<Duration>().unwrap().to_string(),
                canonical,
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "5x",
            "1.s",
            ".5s",
            "1.0000000001s",
            "five",
            "1e3s",
        ] {
            assert_eq!(
                text.parse::<Duration>(),
                Err(ParseDurationError::Syntax),
                "{text}"
            );
        }
        for text in ["-1s", "99999999999h"] {
            assert_eq!(
                text.parse::<Duration>(),
                Err(ParseDurationError::Range),
                "{text}"
            );
        }
    }
}
