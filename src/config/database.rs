//! `[database]`: what kipuka remembers, and where.

use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::Needs;
use super::files::others_can_read;
use super::mistake::At;
use super::reader::Section;

pub(super) const KEYS: &[&str] = &["url", "max_connections", "keep_days", "keep_unfinished_days"];

const DEFAULT_URL: &str = "sqlite://kipuka.db";
const DEFAULT_CONNECTIONS: u32 = 10;
const DAY: Duration = Duration::from_secs(24 * 3600);
const FORMS: &str = "write sqlite://PATH or postgres://USER@HOST/DATABASE";

/// `[database]`.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    /// As sqlx reads it; a relative path of SQLite is already taken from the file's folder. It may
    /// hold a password: show [`Self::describe`].
    pub(crate) url: SecretString,
    /// Of Postgres, 1 to 1,000; three are opened even where fewer are asked for.
    pub(crate) max_connections: u32,
    /// How long orders that led to a certificate are remembered after their end, with what was proved for
    /// them; 30 to 36,500 days.
    pub(crate) keep: Duration,
    /// The same for those that led to none; 1 to 36,500 days.
    pub(crate) keep_unfinished: Duration,
}

impl Database {
    /// The SQLite file, where it is not there: whoever opens it makes it.
    pub(crate) fn missing_file(&self) -> Option<&Path> {
        let path = self.url.expose_secret().strip_prefix("sqlite://").map(Path::new);
        path.filter(|path| !path.exists())
    }

    /// Which database this is, for logs and `kipuka check`; no secret in it.
    pub(crate) fn describe(&self) -> String {
        let url = self.url.expose_secret();
        if let Some(path) = url.strip_prefix("sqlite://") {
            return format!("SQLite {path}");
        }
        let Ok(url) = Url::parse(url) else { return "Postgres".to_owned() };
        // Nothing after the path: a password may stand in the query, too.
        let mut shown = "Postgres ".to_owned();
        if !url.username().is_empty() {
            shown.push_str(&format!("{}@", url.username()));
        }
        shown.push_str(url.host_str().unwrap_or_default());
        if let Some(port) = url.port() {
            shown.push_str(&format!(":{port}"));
        }
        shown + url.path()
    }
}

/// No message shows the URL: it may hold a password.
pub(super) fn read(section: &Section<'_>) -> Database {
    let given = section.string("url");
    let url = match &given {
        Some(url) if url.value.starts_with("sqlite:") => sqlite(section, url),
        Some(url) => postgres(section, url),
        None => Some(in_folder(section, "kipuka.db")),
    };
    Database {
        url: SecretString::from(url.unwrap_or_else(|| DEFAULT_URL.to_owned())),
        max_connections: section
            .integer("max_connections", 1..=1000)
            .and_then(|connections| u32::try_from(connections).ok())
            .unwrap_or(DEFAULT_CONNECTIONS),
        keep: DAY * days(section, "keep_days", 30).unwrap_or(400),
        keep_unfinished: DAY * days(section, "keep_unfinished_days", 1).unwrap_or(30),
    }
}

fn days(section: &Section<'_>, key: &str, least: u64) -> Option<u32> {
    section.integer(key, least..=36_500).and_then(|days| u32::try_from(days).ok())
}

fn sqlite(section: &Section<'_>, url: &At<&str>) -> Option<String> {
    let path = url.value.strip_prefix("sqlite://");
    let what = match path {
        None => "is not a URL of a SQLite file",
        Some(path) if path.contains(['?', '#']) => "has options, and kipuka sets them itself",
        Some(path) if path.is_empty() || path.ends_with('/') => "names no file",
        Some(":memory:") => "is a database that forgets, and a CA must remember",
        Some(path) => return Some(in_folder(section, path)),
    };
    section.reader.mistake(
        &url.place,
        what,
        "write sqlite://PATH: \"sqlite:///var/lib/kipuka/kipuka.db\"",
    );
    None
}

fn in_folder(section: &Section<'_>, path: &str) -> String {
    if path.starts_with('/') {
        return format!("sqlite://{path}");
    }
    // sqlx undoes the percent signs of the whole path, of which the folder has not been encoded.
    let folder = section.reader.resolved("").display().to_string();
    let folder = folder.replace('%', "%25").replace('?', "%3F");
    let slash = if folder.is_empty() || folder.ends_with('/') { "" } else { "/" };
    format!("sqlite://{folder}{slash}{path}")
}

fn postgres(section: &Section<'_>, text: &At<&str>) -> Option<String> {
    let url = match Url::parse(text.value) {
        Ok(url) if matches!(url.scheme(), "postgres" | "postgresql") => url,
        Ok(_) | Err(_) => {
            section.reader.mistake(&text.place, "is not the URL of a database", FORMS);
            return None;
        }
    };
    let has_password =
        url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password");
    let reader = section.reader;
    if has_password && reader.needs > Needs::Text && others_can_read(reader.file) {
        reader.warn(
            &text.place,
            "the database password stands in a file that others can read",
            "make the file private (chmod 0400), or give the password in PGPASSWORD",
        );
    }
    Some(text.value.to_owned())
}
