//! Requests, responses and bodies in memory, with the functions the ABI's resources have.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use crate::{ChangeError, Client, Datetime, RetryOn, Tls};

type Changed<T = ()> = Result<T, ChangeError>;

fn invalid<T>(why: &str) -> Changed<T> {
    Err(ChangeError::Invalid(why.to_owned()))
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// A name and a value.
type Entry = (String, Vec<u8>);

/// Fields in memory; handles of the same ones share them.
#[derive(Clone, Default)]
pub(crate) struct Fields {
    entries: Rc<RefCell<Vec<Entry>>>,
    read_only: Rc<Cell<bool>>,
}

impl Fields {
    /// Adds without any check, as what came from outside.
    pub(crate) fn push(&self, name: &str, value: &[u8]) {
        self.entries
            .borrow_mut()
            .push((name.to_ascii_lowercase(), value.to_vec()));
    }

    pub(crate) fn freeze(&self) {
        self.read_only.set(true);
    }

    pub(crate) fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.get_all(name).into_iter().next()
    }

    pub(crate) fn get_all(&self, name: &str) -> Vec<Vec<u8>> {
        let entries = self.entries.borrow();
        let values = entries
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name));
        values.map(|(_, value)| value.clone()).collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        for (name, value) in &*self.entries.borrow() {
            let behind = entries.iter().rposition(|(key, _)| key == name);
            entries.insert(
                behind.map_or(entries.len(), |at| at + 1),
                (name.clone(), value.clone()),
            );
        }
        entries
    }

    fn check(&self, name: &str, values: &[Vec<u8>]) -> Changed {
        const OWN: [&str; 8] = [
            "connection",
            "content-length",
            "host",
            "keep-alive",
            "proxy-connection",
            "te",
            "transfer-encoding",
            "upgrade",
        ];
        if self.read_only.get() {
            return Err(ChangeError::ReadOnly);
        }
        if !is_token(name) {
            return invalid("the name is no token");
        }
        if OWN.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            return Err(ChangeError::Forbidden);
        }
        if values
            .iter()
            .flatten()
            .any(|b| *b == 0x7f || (*b < b' ' && *b != b'\t'))
        {
            return invalid("there is a control character in the value");
        }
        Ok(())
    }

    pub(crate) fn set(&self, name: &str, value: &[u8]) -> Changed {
        self.set_all(name, &[value.to_vec()])
    }

    pub(crate) fn set_all(&self, name: &str, values: &[Vec<u8>]) -> Changed {
        self.check(name, values)?;
        self.entries
            .borrow_mut()
            .retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        values.iter().for_each(|value| self.push(name, value));
        Ok(())
    }

    pub(crate) fn append(&self, name: &str, value: &[u8]) -> Changed {
        self.check(name, &[value.to_vec()])?;
        self.push(name, value);
        Ok(())
    }

    pub(crate) fn delete(&self, name: &str) -> Changed<bool> {
        self.check(name, &[])?;
        let there = self.has(name);
        self.entries
            .borrow_mut()
            .retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        Ok(there)
    }
}

/// What a request says in its first line and of its sender.
#[derive(Clone)]
pub(crate) struct Head {
    pub(crate) id: String,
    pub(crate) trace_id: Option<String>,
    pub(crate) received: Datetime,
    pub(crate) client: Client,
    pub(crate) tls: Option<Tls>,
    pub(crate) method: String,
    pub(crate) authority: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
}

/// A request in memory.
pub(crate) struct Request {
    pub(crate) head: RefCell<Head>,
    pub(crate) fields: Fields,
}

macro_rules! getters {
    ($($name:ident: $type:ty),+ $(,)?) => {
        $(pub(crate) fn $name(&self) -> $type { self.head.borrow().$name.clone() })+
    };
}

impl Request {
    getters! {
        id: String, trace_id: Option<String>, received: Datetime, client: Client, tls: Option<Tls>,
        method: String, authority: String, path: String, query: Option<String>,
    }

    fn change(&self, change: impl FnOnce(&mut Head)) -> Changed {
        if self.fields.read_only.get() {
            return Err(ChangeError::ReadOnly);
        }
        change(&mut self.head.borrow_mut());
        Ok(())
    }

    pub(crate) fn scheme(&self) -> String {
        if self.head.borrow().tls.is_some() {
            "https"
        } else {
            "http"
        }
        .to_owned()
    }

    pub(crate) fn set_method(&self, method: &str) -> Changed {
        if !is_token(method) {
            return invalid("the method is no token");
        }
        self.change(|head| head.method = method.to_owned())
    }

    pub(crate) fn set_authority(&self, authority: &str) -> Changed {
        check_authority(authority)?;
        self.change(|head| head.authority = authority.to_owned())
    }

    pub(crate) fn set_path(&self, path: &str) -> Changed {
        if !path.starts_with('/')
            || path
                .bytes()
                .any(|b| !b.is_ascii_graphic() || b"?#".contains(&b))
        {
            return invalid("a path begins with `/` and is percent-encoded");
        }
        self.change(|head| head.path = path.to_owned())
    }

    pub(crate) fn set_query(&self, query: Option<&str>) -> Changed {
        if query.is_some_and(|query| query.bytes().any(|b| !b.is_ascii_graphic() || b == b'#')) {
            return invalid("a query is percent-encoded");
        }
        self.change(|head| head.query = query.map(str::to_owned))
    }

    pub(crate) fn headers(&self) -> Fields {
        self.fields.clone()
    }
}

fn check_authority(authority: &str) -> Changed {
    if authority.is_empty()
        || authority
            .bytes()
            .any(|b| !b.is_ascii_graphic() || b"/?#@".contains(&b))
    {
        return invalid("an authority is a host, and a port behind a colon");
    }
    Ok(())
}

/// Where a request is to go.
pub(crate) struct Upstream {
    pub(crate) route: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) cluster: String,
    pub(crate) authority: RefCell<String>,
    pub(crate) path_with_query: String,
    /// In milliseconds, where the policy has set it.
    pub(crate) timeout: Cell<Option<u32>>,
    /// How often and for what it is sent again, where the policy has set it.
    pub(crate) retries: Cell<Option<(u32, RetryOn)>>,
}

impl Upstream {
    pub(crate) fn route(&self) -> String {
        self.route.clone()
    }

    pub(crate) fn labels(&self) -> Vec<(String, String)> {
        self.labels.clone()
    }

    pub(crate) fn cluster(&self) -> String {
        self.cluster.clone()
    }

    pub(crate) fn authority(&self) -> String {
        self.authority.borrow().clone()
    }

    pub(crate) fn path_with_query(&self) -> String {
        self.path_with_query.clone()
    }

    pub(crate) fn set_authority(&self, authority: &str) -> Changed {
        check_authority(authority)?;
        self.authority.replace(authority.to_owned());
        Ok(())
    }

    pub(crate) fn set_timeout(&self, milliseconds: u32) {
        self.timeout.set(Some(milliseconds));
    }

    pub(crate) fn set_retries(&self, count: u32, on: RetryOn) {
        self.retries.set((count > 0).then_some((count.min(10), on)));
    }
}

/// A response in memory.
pub(crate) struct Response {
    pub(crate) status: Cell<u16>,
    pub(crate) fields: Fields,
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.status.get()
    }

    pub(crate) fn set_status(&self, status: u16) -> Changed {
        if !(200..600).contains(&status) {
            return invalid("a status is 200 to 599");
        }
        self.status.set(status);
        Ok(())
    }

    pub(crate) fn headers(&self) -> Fields {
        self.fields.clone()
    }
}

/// A whole body in memory.
pub(crate) struct Buffer {
    pub(crate) bytes: RefCell<Vec<u8>>,
    pub(crate) trailers: Option<Fields>,
}

impl Buffer {
    pub(crate) fn size(&self) -> u64 {
        self.bytes.borrow().len() as u64
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes.borrow().clone()
    }

    pub(crate) fn replace(&self, bytes: &[u8]) -> Changed {
        self.bytes.replace(bytes.to_vec());
        Ok(())
    }

    pub(crate) fn trailers(&self) -> Option<Fields> {
        self.trailers.clone()
    }
}

/// A body that comes in chunks.
pub(crate) struct BodyReader {
    pub(crate) chunks: RefCell<VecDeque<Vec<u8>>>,
    pub(crate) ended: Cell<bool>,
    pub(crate) trailers: Option<Fields>,
}

impl BodyReader {
    pub(crate) fn read(&self) -> Option<Vec<u8>> {
        let chunk = self.chunks.borrow_mut().pop_front();
        self.ended.set(chunk.is_none());
        chunk
    }

    pub(crate) fn trailers(&self) -> Option<Fields> {
        self.trailers.clone().filter(|_| self.ended.get())
    }
}

/// A body that goes.
#[derive(Default)]
pub(crate) struct BodyWriter(pub(crate) RefCell<Vec<u8>>);

impl BodyWriter {
    pub(crate) fn write(&self, bytes: &[u8]) {
        assert!(
            bytes.len() <= 1 << 20,
            "the proxy ends a call that writes more than 1 MiB at once"
        );
        self.0.borrow_mut().extend_from_slice(bytes);
    }
}
