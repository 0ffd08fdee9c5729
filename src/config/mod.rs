//! One TOML file into [`Settings`]; all problems at once; reload is one pure function.
//!
//! In: the file's text, and the list files and certificates that it names. Out: settings, or every [`Problem`] with
//! line and hint. [`read`] walks the file section by section; each option is asked for once, with its default and its
//! limits, so that what nobody asked for is an unknown key, and what the file leaves out is recorded with its default.

mod certificates;
mod doubts;
mod draft;
mod file;
mod host;
mod listen;
mod policy;
mod problem;
mod read;
mod reload;
mod section;
mod settings;
mod trunks;

pub use certificates::{BadTls, ClientIdentity, Identity, Roots};
pub use draft::Draft;
pub use file::{Files, Folder, files_at_start, files_in, lists_in, problems_text, text_of};
pub use problem::Problem;
pub use read::ADMIN_ADDRESS;
pub use reload::{Reload, compare, load};
pub use settings::LogSettings;
pub use settings::{
    CallSettings, ConnectionSettings, DetectSettings, DivertSettings, DnsSettings, HostPort, ListenSettings,
};
pub use settings::{
    MediaSettings, PbxSettings, PublicAddress, Settings, SipSettings, StoreSettings, TrunkSettings, WordsSettings,
};

/// The settings file with every option, its default and what it does.
#[must_use]
pub fn built_in() -> &'static str {
    include_str!("../../config/ringfence.toml")
}
