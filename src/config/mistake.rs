//! What is wrong with a configuration, where, and how to mend it.

use std::fmt;
use std::path::{Path, PathBuf};

/// One mistake, or one warning: `file:line: key: what; how to mend it`. No secret stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) file: PathBuf,
    /// Counted from 1; `None` where the mistake is the file itself, or something missing from it.
    pub(crate) line: Option<usize>,
    /// Counted from 1 in characters; only where the file is not TOML.
    pub(crate) column: Option<usize>,
    /// `section.key`; empty where the file is not TOML or cannot be read.
    pub(crate) key: String,
    pub(crate) what: String,
    pub(crate) remedy: String,
}

/// Something that works, and that the operator should know.
pub(crate) type Warning = Mistake;

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if let Some(column) = self.column {
            write!(f, "{column}:")?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}; {}", self.what, self.remedy)
    }
}

/// Every mistake of one configuration, one line each; there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Errors(Vec<Mistake>);

impl Errors {
    /// `None` where there is no mistake.
    pub(super) fn new(mut mistakes: Vec<Mistake>) -> Option<Self> {
        mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        mistakes.dedup();
        (!mistakes.is_empty()).then_some(Self(mistakes))
    }

    /// The file cannot even be read.
    pub(super) fn whole_file(
        file: &Path,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self(vec![Mistake {
            file: file.to_owned(),
            line: None,
            column: None,
            key: String::new(),
            what: what.into(),
            remedy: remedy.into(),
        }])
    }

    #[cfg(test)]
    pub(crate) fn mistakes(&self) -> &[Mistake] {
        &self.0
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// Where in the file something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: Option<usize>,
    pub(super) key: String,
}

impl Place {
    pub(super) fn new(line: Option<usize>, key: impl Into<String>) -> Self {
        Self { line, key: key.into() }
    }
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<T> At<T> {
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> At<U> {
        At { value: change(self.value), place: self.place }
    }
}
