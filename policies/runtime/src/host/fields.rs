//! Header fields and trailers.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use wasmtime::component::Resource;

use crate::{
    Bounds, Failure,
    abi::types::{ChangeError, Fields, HostFields},
    state::State,
};

/// Whose fields a handle stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// The request's.
    Request = 0,
    /// The response's.
    Response = 1,
    /// The trailers of the body.
    Trailers = 2,
}

impl Of {
    /// A handle for a guest.
    pub(crate) fn handle(self, state: &mut State) -> wasmtime::Result<Resource<Fields>> {
        state.take_handle()?;
        Ok(Resource::new_own(self as u32))
    }

    const fn from(rep: u32) -> Self {
        match rep {
            0 => Self::Request,
            1 => Self::Response,
            _ => Self::Trailers,
        }
    }
}

/// Whether a field is the proxy's own to set: what frames a message, belongs to one connection or
/// is part of the request's target.
pub(crate) fn is_forbidden(name: &HeaderName) -> bool {
    const CONNECTION: [HeaderName; 8] = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::EXPECT,
        header::HOST,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    CONNECTION.contains(name)
        || [
            "keep-alive",
            "proxy-connection",
            "x-request-id",
            "http2-settings",
        ]
        .contains(&name.as_str())
}

impl State {
    fn fields(&self, handle: &Resource<Fields>) -> wasmtime::Result<&HeaderMap> {
        let fields = match Of::from(handle.rep()) {
            Of::Request => Some(&self.subject.request.headers),
            Of::Response => self.response.as_ref().map(|response| &response.headers),
            Of::Trailers => self
                .buffer
                .as_ref()
                .map_or(self.trailers.as_ref(), |buffer| buffer.trailers.as_ref()),
        };
        fields.ok_or_else(gone)
    }

    /// The fields to be changed, and how large they may become.
    fn fields_mut(
        &mut self,
        handle: &Resource<Fields>,
    ) -> wasmtime::Result<Result<(&mut HeaderMap, Bounds), ChangeError>> {
        let bounds = self.subject.facts.bounds;
        let fields = match Of::from(handle.rep()) {
            Of::Request if self.read_only => return Ok(Err(ChangeError::ReadOnly)),
            Of::Request => Some(&mut self.subject.request.headers),
            Of::Response => self.response.as_mut().map(|response| &mut response.headers),
            Of::Trailers => match &mut self.buffer {
                Some(buffer) => buffer.trailers.as_mut(),
                None => self.trailers.as_mut(),
            },
        };
        fields.map(|fields| Ok((fields, bounds))).ok_or_else(gone)
    }
}

/// The head has gone on its way, as while a body passes through.
fn gone() -> wasmtime::Error {
    Failure::Misuse("it reached for fields that have been sent".into()).into()
}

/// The name to look for; a name that is none is nobody's.
fn sought(name: &str) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    // It is the authority.
    (name != header::HOST).then_some(name)
}

/// A name to be changed.
fn changed(name: &str) -> Result<HeaderName, ChangeError> {
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| ChangeError::Invalid(format!("{:?} is no field name", shortened(name))))?;
    if is_forbidden(&name) {
        return Err(ChangeError::Forbidden);
    }
    Ok(name)
}

fn shortened(text: &str) -> &str {
    text.char_indices()
        .nth(64)
        .map_or(text, |(end, _)| text.get(..end).unwrap_or_default())
}

fn field_value(value: Vec<u8>) -> Result<HeaderValue, ChangeError> {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if blank(value.first()) || blank(value.last()) {
        return Err(ChangeError::Invalid(
            "the value begins or ends with a blank".into(),
        ));
    }
    HeaderValue::from_maybe_shared(bytes::Bytes::from(value))
        .map_err(|_| ChangeError::Invalid("the value has a control character".into()))
}

/// Puts values behind those of a name, if there is room.
fn add(
    fields: &mut HeaderMap,
    bounds: Bounds,
    name: &HeaderName,
    values: Vec<HeaderValue>,
    in_place: bool,
) -> Result<(), ChangeError> {
    let (mut number, mut bytes) = (values.len(), 0);
    for value in &values {
        bytes += name.as_str().len() + value.len();
    }
    for (known, value) in &*fields {
        if !(in_place && known == name) {
            number += 1;
            bytes += known.as_str().len() + value.len();
        }
    }
    if number > bounds.fields || bytes > bounds.bytes {
        return Err(ChangeError::TooLarge);
    }
    if in_place {
        fields.remove(name);
    }
    for value in values {
        if fields.try_append(name.clone(), value).is_err() {
            return Err(ChangeError::TooLarge);
        }
    }
    Ok(())
}

impl HostFields for State {
    fn get(&mut self, fields: Resource<Fields>, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        let fields = self.fields(&fields)?;
        let value = sought(&name).and_then(|name| fields.get(name));
        Ok(value.map(|value| value.as_bytes().to_vec()))
    }

    fn get_all(
        &mut self,
        fields: Resource<Fields>,
        name: String,
    ) -> wasmtime::Result<Vec<Vec<u8>>> {
        let fields = self.fields(&fields)?;
        let values = sought(&name).map(|name| fields.get_all(name));
        let values = values.into_iter().flatten();
        Ok(values.map(|value| value.as_bytes().to_vec()).collect())
    }

    fn has(&mut self, fields: Resource<Fields>, name: String) -> wasmtime::Result<bool> {
        let fields = self.fields(&fields)?;
        Ok(sought(&name).is_some_and(|name| fields.contains_key(name)))
    }

    fn entries(&mut self, fields: Resource<Fields>) -> wasmtime::Result<Vec<(String, Vec<u8>)>> {
        let fields = self.fields(&fields)?;
        let entry = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), value.as_bytes().to_vec())
        };
        let seen = fields.iter().filter(|(name, _)| **name != header::HOST);
        Ok(seen.map(entry).collect())
    }

    fn set(
        &mut self,
        fields: Resource<Fields>,
        name: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), ChangeError>> {
        self.set_all(fields, name, vec![value])
    }

    fn set_all(
        &mut self,
        fields: Resource<Fields>,
        name: String,
        values: Vec<Vec<u8>>,
    ) -> wasmtime::Result<Result<(), ChangeError>> {
        Ok(self.fields_mut(&fields)?.and_then(|(fields, bounds)| {
            let name = changed(&name)?;
            let values: Result<_, _> = values.into_iter().map(field_value).collect();
            add(fields, bounds, &name, values?, true)
        }))
    }

    fn append(
        &mut self,
        fields: Resource<Fields>,
        name: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), ChangeError>> {
        Ok(self.fields_mut(&fields)?.and_then(|(fields, bounds)| {
            let name = changed(&name)?;
            add(fields, bounds, &name, vec![field_value(value)?], false)
        }))
    }

    fn delete(
        &mut self,
        fields: Resource<Fields>,
        name: String,
    ) -> wasmtime::Result<Result<bool, ChangeError>> {
        Ok(self.fields_mut(&fields)?.and_then(|(fields, _)| {
            let name = changed(&name)?;
            Ok(fields.remove(name).is_some())
        }))
    }

    fn drop(&mut self, _fields: Resource<Fields>) -> wasmtime::Result<()> {
        self.drop_handle();
        Ok(())
    }
}
