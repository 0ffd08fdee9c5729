//! Settings from a file's path. The one place of this module that reads files.

use std::path::{Path, PathBuf};

use super::problem::Problem;
use super::reload::load;
use super::settings::Settings;

/// Reads the list files of a settings file; relative paths start at `folder`.
pub fn list_files(folder: &Path) -> impl Fn(&str) -> Result<String, String> {
    let folder = folder.to_owned();
    move |path| std::fs::read_to_string(folder.join(path)).map_err(|error| error.to_string())
}

/// Loads a file; the error is the text that an operator sees.
pub fn load_file(path: &Path) -> Result<Settings, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    load(&text, &list_files(&folder)).map_err(|problems| problems_text(path, &problems))
}

/// All problems as a person reads them.
#[must_use]
pub fn problems_text(path: &Path, problems: &[Problem]) -> String {
    let plural = if problems.len() == 1 { "" } else { "s" };
    let mut text = format!("{}: {} problem{plural}", path.display(), problems.len());
    for problem in problems {
        text.push_str(&format!("\n  {problem}"));
    }
    text
}
