//! What can be wrong with the file, in the operator's words.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why records cannot be kept or read. Names the file and what to look at.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be created or opened.
    #[error("{} cannot be opened ({reason}); check the path, and that this user may use it and its folder", path.display())]
    Unopenable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// It is something else than a database, or its pages are damaged.
    #[error("{} is damaged or is not a database; move it away and a new one is begun", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// It was made by a later version.
    #[error("{} has schema {found}, and this version knows up to {known}; use the newer ringfence", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its `user_version`.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// It holds no records yet, or an older schema, and a reader must not change it.
    #[error("{} holds no records of this version; a running ringfence makes it ready", path.display())]
    NotReady {
        /// The file.
        path: PathBuf,
    },
    /// The disk is full.
    #[error("no room left for {}", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// It may be read but not written.
    #[error("{} may not be written", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// Another process holds it for longer than we wait.
    #[error("{} is locked by another process", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// A record breaks the schema: our fault, and trying again does not help.
    #[error("a record does not fit {} ({reason})", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// Reading or writing failed otherwise.
    #[error("{} failed ({reason})", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
}

impl StoreError {
    pub(super) fn new(path: &Path, error: &rusqlite::Error) -> Self {
        let (path, reason) = (path.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Self::Unopenable { path, reason },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged { path },
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::ReadOnly) => Self::ReadOnly { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => {
                Self::Refused { path, reason }
            }
            // All else, and codes of a later SQLite.
            Some(_) | None => Self::Io { path, reason },
        }
    }

    /// Fixed word for logs.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unopenable { .. } => "unopenable",
            Self::Damaged { .. } => "damaged",
            Self::TooNew { .. } => "too_new",
            Self::NotReady { .. } => "not_ready",
            Self::Full { .. } => "full",
            Self::ReadOnly { .. } => "read_only",
            Self::Busy { .. } => "busy",
            Self::Refused { .. } => "refused",
            Self::Io { .. } => "io",
        }
    }

    /// Whether the same batch may succeed later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Refused { .. } => false,
            Self::Unopenable { .. }
            | Self::Damaged { .. }
            | Self::TooNew { .. }
            | Self::NotReady { .. }
            | Self::Full { .. }
            | Self::ReadOnly { .. }
            | Self::Busy { .. }
            | Self::Io { .. } => true,
        }
    }
}
