//! Host names as routes match them.

use std::fmt;

/// Which hosts a route takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// One host, lower case, without a port.
    Exact(Box<str>),
    /// Every host that ends with this, which begins with a dot: `*.example.com` is held as
    /// `.example.com`, and takes one or more labels before it.
    Wildcard(Box<str>),
    /// Every host.
    Any,
}

impl HostPattern {
    /// Reads `api.example.com`, `*.example.com`, `*`, `10.0.0.1` or `[::1]`, in any case.
    ///
    /// # Errors
    /// When it is no host name, or a wildcard elsewhere than as the whole first label.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let lower = text.to_ascii_lowercase();
        if let Some(suffix) = lower.strip_prefix('*') {
            return match suffix.strip_prefix('.') {
                Some(name) if is_dns_name(name) => Ok(Self::Wildcard(suffix.into())),
                _ => Err(format!(
                    "\"{text}\": a wildcard stands for whole leading labels: write *.example.com"
                )),
            };
        }
        if is_dns_name(&lower) || is_ip_literal(&lower) {
            return Ok(Self::Exact(lower.into()));
        }
        Err(
            if lower
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.bytes().all(|c| c.is_ascii_digit()))
            {
                format!("\"{text}\": leave the port out, hosts match on every port")
            } else {
                format!(
                    "\"{text}\" is not a host name, such as api.example.com, *.example.com or *"
                )
            },
        )
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Wildcard(suffix) => write!(f, "*{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// RFC 1123 section 2.1, with the underscore that is common in internal names.
pub(super) fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
    };
    (1..=253).contains(&text.len()) && text.split('.').all(label)
}

/// `[::1]`; an IPv4 address passes as a name already.
pub(super) fn is_ip_literal(text: &str) -> bool {
    text.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_in_any_case_and_without_ports() {
        assert_eq!(
            HostPattern::parse("API.Example.com"),
            Ok(HostPattern::Exact("api.example.com".into()))
        );
        assert_eq!(
            HostPattern::parse("*.example.com"),
            Ok(HostPattern::Wildcard(".example.com".into()))
        );
        assert_eq!(HostPattern::parse("*"), Ok(HostPattern::Any));
        assert!(HostPattern::parse("[::1]").is_ok());
        for bad in [
            "",
            "a b",
            "*example.com",
            "api.*.com",
            "example.com:80",
            "-a.com",
            "a..b",
            "*.",
        ] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
