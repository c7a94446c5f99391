//! Which changes of a folder are worth a look.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _, event::AccessKind};
use tokio::{sync::Notify, time::timeout};

use super::StartError;

/// Changes are taken together until nothing has changed for this long.
const QUIET: Duration = Duration::from_millis(100);
/// Under changes that do not cease, the folder is still read this often.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Whether an event may be one of the folder or of something in it.
fn concerns(event: &notify::Event, folder: &Path) -> bool {
    use notify::event::{AccessMode, EventKind};
    // Reading the folder makes such events itself.
    let only_read = matches!(
        event.kind,
        EventKind::Access(
            AccessKind::Read | AccessKind::Open(_) | AccessKind::Close(AccessMode::Read)
        )
    );
    let beside = |path: &PathBuf| path != folder && path.parent() == folder.parent();
    !only_read && (event.paths.is_empty() || !event.paths.iter().all(beside))
}

/// Tells that something about the folder may have changed.
pub(super) struct Watch {
    folder: PathBuf,
    watcher: RecommendedWatcher,
    hint: Arc<Notify>,
    /// The very folder watched, by device and inode: another one may take its place and name.
    watched: Option<(PathBuf, (u64, u64))>,
}

impl Watch {
    pub(super) fn start(folder: &Path) -> Result<Self, StartError> {
        let fault = |error| StartError::Watch {
            folder: folder.to_owned(),
            error,
        };
        let folder = std::path::absolute(folder).map_err(|error| fault(error.into()))?;
        let hint = Arc::new(Notify::new());
        let waker = hint.clone();
        let place = folder.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.as_ref().map_or(true, |event| concerns(event, &place)) {
                waker.notify_one();
            }
        })
        .map_err(fault)?;
        let mut watch = Self {
            folder,
            watcher,
            hint,
            watched: None,
        };
        watch.renew().map_err(fault)?;
        // The folder's own place, so that one put there instead is noticed.
        if let (Some(parent), Some(_)) = (watch.folder.parent(), watch.folder.file_name()) {
            watch
                .watcher
                .watch(parent, RecursiveMode::NonRecursive)
                .map_err(fault)?;
        }
        Ok(watch)
    }

    /// Watches what now stands where the folder stood.
    fn renew(&mut self) -> notify::Result<()> {
        let path = fs::canonicalize(&self.folder)?;
        let metadata = fs::metadata(&path)?;
        let identity = (metadata.dev(), metadata.ino());
        if self
            .watched
            .as_ref()
            .is_some_and(|(_, watched)| *watched == identity)
        {
            return Ok(());
        }
        if let Some((old, _)) = self.watched.take() {
            // Fails where the folder is gone, and its watch with it.
            let _ = self.watcher.unwatch(&old);
        }
        self.watcher.watch(&path, RecursiveMode::NonRecursive)?;
        self.watched = Some((path, identity));
        Ok(())
    }

    /// Has the next wait end as for a change.
    pub(super) fn look(&self) {
        self.hint.notify_one();
    }

    /// Waits for a change, and then for quiet.
    pub(super) async fn changed(&mut self) {
        self.hint.notified().await;
        let quiet = async { while timeout(QUIET, self.hint.notified()).await.is_ok() {} };
        let _ = timeout(LONGEST_WAIT, quiet).await;
        if self.renew().is_err() {
            // It is not there; reading it says so, and its coming back is an event.
            self.watched = None;
        }
    }
}
