//! What of a transaction can be judged without the state: before the lock, so that no other write
//! waits for it.

use fleetway_api::{FieldError, Kind, Resource};

use super::{CommitError, Examine, Transaction, components};
use crate::snapshot::Snapshot;

/// After this many faults the rest of a transaction is not read: some take long to find.
const MAX_FAULTS: usize = 100;

/// What each operation's message is; `None` where it is a deletion, or has to be read with what
/// there is, as a secret that leaves its key to be kept, or a component its bytes.
pub(super) type Read = Vec<Option<Result<Resource, Vec<FieldError>>>>;

/// Reads the messages of the operations, and has components that are new to `current` examined.
///
/// # Errors
/// When nobody waits for it any more, or there are too many faults to go on.
pub(super) fn read(
    transaction: &mut Transaction,
    current: &Snapshot,
    examiner: &dyn Examine,
) -> Result<Read, CommitError> {
    let mut read = Vec::with_capacity(transaction.operations.len());
    let mut faults = 0;
    let count = transaction.operations.len();
    for index in 0..count {
        let Some(operation) = transaction.operations.get_mut(index) else {
            break;
        };
        if transaction.gone.is_cancelled() {
            return Err(CommitError::Abandoned);
        }
        let resource = match &operation.put {
            Some(message) if operation.id.kind != Kind::Secret && !components::is_bare(message) => {
                let read = Resource::read(message.clone());
                Some(read.and_then(|resource| {
                    components::examine(operation, &resource, current, examiner)?;
                    Ok(resource)
                }))
            }
            _ => None,
        };
        if let Some(Err(found)) = &resource {
            faults += found.len();
        }
        read.push(resource);
        let left = count - index - 1;
        if faults >= MAX_FAULTS && left > 0 {
            return Err(too_many(transaction, read, left));
        }
    }
    Ok(read)
}

/// The faults found so far, and that there may be more.
fn too_many(transaction: &Transaction, read: Read, left: usize) -> CommitError {
    let mut faults = transaction.unread.faults.clone();
    for resource in read.into_iter().flatten() {
        faults.extend(resource.err().into_iter().flatten());
    }
    faults.push(FieldError::new(
        "",
        "operations",
        format!(
            "have {MAX_FAULTS} faults or more: the last {left} of them, and how they go together, were not looked at"
        ),
    ));
    CommitError::Invalid(faults.into())
}

#[cfg(test)]
mod tests {
    use fleetway_api::{Id, Name, proto::v1};

    use super::*;
    use crate::commit::Operation;

    fn read(transaction: &mut Transaction) -> Result<Read, CommitError> {
        super::read(transaction, &Snapshot::default(), &crate::commit::Preamble)
    }

    fn bad(count: usize) -> Transaction {
        let operation = |index| {
            let name = format!("r{index}");
            let route = v1::Route {
                name: name.clone(),
                ..v1::Route::default()
            };
            Operation {
                id: Id::new(Kind::Route, Name::new(&name).unwrap()),
                put: Some(v1::Resource {
                    kind: Some(v1::resource::Kind::Route(route)),
                }),
                condition: crate::commit::Condition::None,
            }
        };
        Transaction {
            operations: (0..count).map(operation).collect(),
            ..Transaction::default()
        }
    }

    #[test]
    fn after_a_hundred_faults_the_rest_is_not_read() {
        let each = read(&mut bad(1))
            .unwrap()
            .remove(0)
            .unwrap()
            .unwrap_err()
            .len();
        let Err(CommitError::Invalid(rejection)) = read(&mut bad(300)) else {
            panic!("read");
        };
        let last = rejection.errors.last().unwrap().to_string();
        assert!(
            last.starts_with("operations: have 100 faults or more"),
            "{last}"
        );
        assert!(rejection.errors.len() <= MAX_FAULTS + each);
        assert!(read(&mut bad(20)).is_ok());
    }

    #[test]
    fn what_nobody_waits_for_is_not_read() {
        let mut transaction = bad(3);
        transaction.gone.cancel();
        assert!(matches!(
            read(&mut transaction),
            Err(CommitError::Abandoned)
        ));
    }
}
