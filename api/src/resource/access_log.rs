//! The validated access log.

use std::path::Path;

use fleetway_proto::v1;

use crate::error::Checker;

/// The most bytes a path may have: `PATH_MAX` of Linux, without the null byte.
const MAX_PATH: usize = 4095;

/// Where a listener's access log goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AccessLog {
    /// To the proxy's standard output.
    Stdout,
    /// To the file of this absolute path.
    File(Box<Path>),
}

impl AccessLog {
    pub(super) fn read(check: &mut Checker, message: &v1::AccessLog) -> Option<Self> {
        let path = &*message.path;
        let fault = if path == "-" {
            return Some(Self::Stdout);
        } else if path.is_empty() {
            "is missing: write the path of a file, such as /var/log/fleetway/web.json, or - for standard output".into()
        } else if !path.starts_with('/') {
            format!("\"{path}\" must be an absolute path, or - for standard output")
        } else if path.ends_with('/') {
            "names a folder: write the path of a file".into()
        } else if path.len() > MAX_PATH {
            format!("must be at most {MAX_PATH} bytes")
        } else if path.contains('\0') {
            "must not have a null byte".into()
        } else {
            return Some(Self::File(Path::new(path).into()));
        };
        check.fault("access_log.path", fault);
        None
    }
}
