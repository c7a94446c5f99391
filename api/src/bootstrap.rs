//! What a program is started with: a file, the environment and flags, the later ones winning.
//!
//! A program has one type of settings, every one of them optional, which is also its flags. Unknown
//! keys and bad values are refused, all of them at once, each with its key and where it stands.

use std::{collections::BTreeMap, ffi::OsString, fmt, net::SocketAddr, path::Path, str::FromStr};

use figment::{
    Figment, Provider,
    providers::{Format as _, Serialized, Toml},
    value::{Dict, Value},
};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

use crate::document::strict;

/// What is wrong with the settings, a line for each fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct BootstrapError(pub Vec<String>);

/// Reads the settings from `file`, then from the environment variables whose names begin with
/// `prefix`, then from `flags`.
///
/// # Errors
/// When the file cannot be read, and for every unknown key and value that cannot be read.
pub fn read<S>(file: Option<&Path>, prefix: &str, flags: &S) -> Result<S, BootstrapError>
where
    S: Serialize + DeserializeOwned,
{
    let mut faults = Vec::new();
    let mut all = Dict::new();
    if let Some(path) = file {
        let place = |key: &str| format!("{}: {key}", path.display());
        match read_file(path) {
            Ok(settings) => all.extend(checked::<S>(settings, place, &mut faults)),
            Err(fault) => faults.push(fault),
        }
    }
    let place = |key: &str| {
        let name = key.to_ascii_uppercase();
        format!("the environment variable {prefix}{name}")
    };
    let environment = environment(prefix, std::env::vars_os(), &mut faults);
    all.extend(checked::<S>(environment, place, &mut faults));
    let flags = dict(Serialized::defaults(flags)).map_err(|fault| BootstrapError(vec![fault]))?;
    all.extend(flags.into_iter().filter(|(_, value)| !is_none(value)));
    if !faults.is_empty() {
        return Err(BootstrapError(faults));
    }
    extract(&all).map_err(|fault| BootstrapError(vec![fault.to_string()]))
}

/// Reads a number that may be written as text, as environment variables are.
///
/// # Errors
/// When it is none, or out of range.
pub fn number<'de, D, N>(deserializer: D) -> Result<Option<N>, D::Error>
where
    D: Deserializer<'de>,
    N: FromStr<Err: fmt::Display>,
{
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "must be a whole number, 0 or more")]
    enum Written {
        Number(u64),
        Text(String),
    }
    let text = match Written::deserialize(deserializer)? {
        Written::Number(number) => number.to_string(),
        Written::Text(text) => text,
    };
    let number = text.parse().map_err(|error| {
        serde::de::Error::custom(format_args!(
            "\"{text}\" must be a whole number, 0 or more: {error}"
        ))
    })?;
    Ok(Some(number))
}

/// Reads `IP:PORT`, as of a flag.
///
/// # Errors
/// When it is none; says what is.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    crate::resource::parse_address(text)
}

/// Reads `IP:PORT` of a file or an environment variable.
///
/// # Errors
/// When it is none; says what is.
pub fn some_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let read = text.as_deref().map(address).transpose();
    read.map_err(serde::de::Error::custom)
}

fn read_file(path: &Path) -> Result<Dict, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read the configuration {}: {error}", path.display()))?;
    let read = match path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => read_yaml(&text),
        Some("toml") => dict(Toml::string(&text)),
        _ => Err("the configuration must be a .yaml, .yml or .toml file".to_owned()),
    };
    read.map_err(|error| format!("{}: {error}", path.display()))
}

/// Reads YAML by the rules resources are read by, which take `no` and `n` for text.
fn read_yaml(text: &str) -> Result<Dict, String> {
    let documents = strict::yaml(text)?;
    match documents.as_slice() {
        [] => Ok(Dict::new()),
        [document] => dict(Serialized::defaults(document)),
        _ => Err("holds more than one document".to_owned()),
    }
}

fn dict(provider: impl Provider) -> Result<Dict, String> {
    Figment::from(provider)
        .extract()
        .map_err(|error| error.to_string())
}

/// The variables that are settings, by key. All are text; what is none is noted as a fault.
///
/// Kubernetes sets variables of its own for a service that is called as the program is
/// (`FLEETWAY_XDS_SERVICE_HOST`, `FLEETWAY_XDS_PORT_7080_TCP`): those are no settings. A variable
/// that is empty is as one that is not there.
fn environment(
    prefix: &str,
    variables: impl Iterator<Item = (OsString, OsString)>,
    faults: &mut Vec<String>,
) -> Dict {
    let mut found = BTreeMap::new();
    for (name, value) in variables {
        let Some(key) = name.to_str().and_then(|name| name.strip_prefix(prefix)) else {
            continue;
        };
        let key = key.to_ascii_lowercase();
        let of_service = ["port", "service_host", "service_port"]
            .iter()
            .any(|word| key == *word || key.starts_with(&format!("{word}_")));
        if of_service || value.is_empty() {
            continue;
        }
        match value.into_string() {
            Ok(value) => {
                found.insert(key, Value::from(value));
            }
            Err(_) => faults.push(format!(
                "the environment variable {}: is not UTF-8",
                name.to_string_lossy()
            )),
        }
    }
    found
}

/// Notes the faults of each setting by itself; gives those without.
fn checked<S: DeserializeOwned>(
    settings: Dict,
    place: impl Fn(&str) -> String,
    faults: &mut Vec<String>,
) -> Dict {
    let mut good = Dict::new();
    for (key, value) in settings {
        let alone = Dict::from([(key.clone(), value.clone())]);
        match extract::<S>(&alone) {
            Ok(_) => {
                good.insert(key, value);
            }
            Err(fault) => {
                let reason = fault.kind.to_string().replace('`', "\"");
                faults.push(format!("{}: {reason}", place(&key)));
            }
        }
    }
    good
}

fn extract<S: DeserializeOwned>(settings: &Dict) -> Result<S, Box<figment::Error>> {
    let figment = Figment::from(Serialized::defaults(settings));
    figment.extract().map_err(Box::new)
}

fn is_none(value: &Value) -> bool {
    matches!(value, Value::Empty(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Settings {
        name: Option<String>,
        #[serde(deserialize_with = "number")]
        count: Option<u16>,
        wait: Option<fleetway_proto::Duration>,
    }

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        let variables = variables.iter().map(|(k, v)| (k.into(), v.into()));
        let mut faults = Vec::new();
        let environment = environment("FLEETWAY_X_", variables, &mut faults);
        let good = checked::<Settings>(environment, str::to_owned, &mut faults);
        if faults.is_empty() {
            Ok(extract(&good).unwrap())
        } else {
            Err(faults)
        }
    }

    #[test]
    fn variables_are_text_whatever_they_look_like() {
        let read = settings(&[
            ("FLEETWAY_X_NAME", "042"),
            ("FLEETWAY_X_COUNT", "42"),
            ("FLEETWAY_X_WAIT", "5s"),
            ("FLEETWAY_SERVER", "http://127.0.0.1:1"),
        ]);
        let read = read.unwrap();
        assert_eq!((read.name.as_deref(), read.count), (Some("042"), Some(42)));
        assert_eq!(
            settings(&[("FLEETWAY_X_NAME", "true")])
                .unwrap()
                .name
                .as_deref(),
            Some("true")
        );
    }

    #[test]
    fn the_variables_of_a_kubernetes_service_are_no_settings() {
        let read = settings(&[
            ("FLEETWAY_X_PORT", "tcp://10.0.0.1:7080"),
            ("FLEETWAY_X_PORT_7080_TCP_ADDR", "10.0.0.1"),
            ("FLEETWAY_X_SERVICE_HOST", "10.0.0.1"),
            ("FLEETWAY_X_SERVICE_PORT_REST", "7080"),
        ]);
        assert_eq!(read, Ok(Settings::default()));
    }

    #[test]
    fn a_variable_that_is_empty_is_as_one_that_is_not_there() {
        let read = settings(&[("FLEETWAY_X_NAME", ""), ("FLEETWAY_X_COUNT", "")]);
        assert_eq!(read, Ok(Settings::default()));
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_no_text_is_refused_by_its_name() {
        use std::os::unix::ffi::OsStringExt as _;

        let bytes = |value: &[u8]| OsString::from_vec(value.to_vec());
        let variables = [
            ("FLEETWAY_X_NAME", bytes(b"caf\xe9")),
            ("FLEETWAY_X_COUNT", bytes(b"42")),
            ("FLEETWAY_X_PORT", bytes(b"\xff")),
            ("FLEETWAY_SERVER", bytes(b"\xff")),
        ];
        let variables = variables.map(|(name, value)| (name.into(), value));
        let mut faults = Vec::new();
        let read = environment("FLEETWAY_X_", variables.into_iter(), &mut faults);
        assert_eq!(
            faults,
            ["the environment variable FLEETWAY_X_NAME: is not UTF-8"]
        );
        assert_eq!(read.into_keys().collect::<Vec<_>>(), ["count"]);
    }

    #[test]
    fn every_fault_is_told() {
        let faults = settings(&[
            ("FLEETWAY_X_COUNT", "70000"),
            ("FLEETWAY_X_NAMES", "x"),
            ("FLEETWAY_X_WAIT", "5"),
        ])
        .unwrap_err();
        assert_eq!(faults.len(), 3, "{faults:#?}");
        assert!(
            faults[0].starts_with("count: \"70000\" must be a whole number"),
            "{faults:#?}"
        );
        assert!(faults[1].starts_with("names: unknown field"), "{faults:#?}");
        assert!(faults[2].starts_with("wait: "), "{faults:#?}");
    }
}
