//! Finds the sections and remembers every mistake, where toml's own deserializer stops at the
//! first.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::mistake::{Mistake, Place};
use super::suggest::{header, instead_of};
use super::{Config, Env, Errors, Needs, SECTIONS, Warning};

/// One reading of one file.
pub(super) struct Reader<'e> {
    pub(super) file: &'e Path,
    pub(super) env: &'e Env<'e>,
    pub(super) needs: Needs,
    /// The offset of the first byte of each line.
    line_starts: Vec<usize>,
    text: &'e str,
    mistakes: RefCell<Vec<Mistake>>,
    warnings: RefCell<Vec<Warning>>,
}

/// One table of the file, all of whose keys are known ones.
pub(super) struct Section<'a> {
    pub(super) reader: &'a Reader<'a>,
    pub(super) name: &'static str,
    /// `None` where the section is not in the file.
    pub(super) line: Option<usize>,
    pub(super) keys: &'static [&'static str],
    pub(super) table: Option<&'a DeTable<'a>>,
}

impl<'e> Reader<'e> {
    pub(super) fn new(file: &'e Path, text: &'e str, env: &'e Env<'e>, needs: Needs) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            file,
            env,
            needs,
            line_starts: std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect(),
            text,
            mistakes: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    pub(super) fn mistake(
        &self,
        place: &Place,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.mistakes.borrow_mut().push(self.remark(place, what.into(), remedy.into()));
    }

    pub(super) fn warn(&self, place: &Place, what: impl Into<String>, remedy: impl Into<String>) {
        self.warnings.borrow_mut().push(self.remark(place, what.into(), remedy.into()));
    }

    fn remark(&self, place: &Place, what: String, remedy: String) -> Mistake {
        let Place { line, key } = place.clone();
        Mistake { file: self.file.to_owned(), line, column: None, key, what, remedy }
    }

    /// The line, counted from 1, in which the byte at `offset` stands.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// Remembers where the text is not TOML. The parser's message is taken without the line that it
    /// quotes, for a PIN may stand there.
    pub(super) fn syntax(&self, errors: &[toml::de::Error]) {
        let mut lines = BTreeSet::new();
        for error in errors {
            let offset = error.span().map_or(self.text.len(), |span| span.start);
            let line = self.line_at(offset);
            // What follows on the same line is mostly the same mistake once more.
            if !lines.insert(line) {
                continue;
            }
            let before = self.text.get(self.line_starts[line - 1]..offset).unwrap_or_default();
            let mut mistake = self.remark(
                &Place::new(Some(line), ""),
                format!("not TOML: {}", error.message()),
                "correct the syntax (text stands in quotes: key = \"value\")".to_owned(),
            );
            mistake.column = Some(before.chars().count() + 1);
            self.mistakes.borrow_mut().push(mistake);
        }
    }

    pub(super) fn finish(self, config: Option<Config>) -> Result<(Config, Vec<Warning>), Errors> {
        let mut warnings = self.warnings.into_inner();
        warnings.sort_by_key(|warning| warning.line);
        match (config, Errors::new(self.mistakes.into_inner())) {
            (_, Some(errors)) => Err(errors),
            (Some(config), None) => Ok((config, warnings)),
            (None, None) => Err(Errors::whole_file(self.file, "is not TOML", "correct it")),
        }
    }

    pub(super) fn unknown_sections(&self, root: &DeTable<'_>) {
        let names: Vec<&str> = SECTIONS.iter().map(|(name, _)| *name).collect();
        self.unknown_keys(root, "", &names);
    }

    fn unknown_keys(&self, table: &DeTable<'_>, prefix: &str, keys: &[&str]) {
        for key in table.keys().filter(|key| !keys.contains(&key.get_ref().as_ref())) {
            let name = shortened(key.get_ref());
            let line = self.line_at(key.span().start);
            self.mistake(
                &Place::new(Some(line), format!("{prefix}{name}")),
                "unknown key",
                instead_of(key.get_ref(), keys),
            );
        }
    }

    /// The section `[name]`; `None` where it is missing, or is not a table, which is remembered.
    pub(super) fn section<'a>(
        &'a self,
        root: &'a DeTable<'a>,
        name: &'static str,
        keys: &'static [&'static str],
    ) -> Option<Section<'a>> {
        self.section_in(root, name, name, keys)
    }

    /// The section `[name]`, which stands as `key` in `table`.
    pub(super) fn section_in<'a>(
        &'a self,
        table: &'a DeTable<'a>,
        key: &str,
        name: &'static str,
        keys: &'static [&'static str],
    ) -> Option<Section<'a>> {
        let (key, value) = table.get_key_value(key)?;
        match value.get_ref() {
            DeValue::Table(table) => {
                Some(self.opened(name, keys, self.line_at(key.span().start), table))
            }
            other => {
                let line = Some(self.line_at(key.span().start));
                let what = format!("is a section, not {}", article(other.type_str()));
                let remedy = format!("write {} on a line of its own", header(name));
                self.mistake(&Place::new(line, name), what, remedy);
                None
            }
        }
    }

    /// As [`Self::section`], where a missing section stands for one with defaults only.
    pub(super) fn section_or_empty<'a>(
        &'a self,
        root: &'a DeTable<'a>,
        name: &'static str,
        keys: &'static [&'static str],
    ) -> Section<'a> {
        let empty = Section { reader: self, name, line: None, keys, table: None };
        self.section(root, name, keys).unwrap_or(empty)
    }

    /// The section `[name]`, or the sections `[[name]]` in their order.
    pub(super) fn one_or_more<'a>(
        &'a self,
        root: &'a DeTable<'a>,
        name: &'static str,
        keys: &'static [&'static str],
    ) -> Vec<Section<'a>> {
        match root.get(name).map(toml::Spanned::get_ref) {
            Some(DeValue::Array(_)) => self.sections(root, name, keys),
            _ => self.section(root, name, keys).into_iter().collect(),
        }
    }

    /// The sections `[[name]]`, in their order.
    pub(super) fn sections<'a>(
        &'a self,
        root: &'a DeTable<'a>,
        name: &'static str,
        keys: &'static [&'static str],
    ) -> Vec<Section<'a>> {
        let Some((key, value)) = root.get_key_value(name) else { return Vec::new() };
        let not_tables = |line| {
            self.mistake(
                &Place::new(Some(line), name),
                format!("is a list of sections, one [[{name}]] for each"),
                format!("write [[{name}]], with two brackets, on a line of its own"),
            );
        };
        let DeValue::Array(items) = value.get_ref() else {
            not_tables(self.line_at(key.span().start));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items.iter() {
            let line = self.line_at(item.span().start);
            match item.get_ref() {
                DeValue::Table(table) => sections.push(self.opened(name, keys, line, table)),
                _ => not_tables(line),
            }
        }
        sections
    }

    fn opened<'a>(
        &'a self,
        name: &'static str,
        keys: &'static [&'static str],
        line: usize,
        table: &'a DeTable<'a>,
    ) -> Section<'a> {
        self.unknown_keys(table, &format!("{name}."), keys);
        Section { reader: self, name, line: Some(line), keys, table: Some(table) }
    }
}

impl<'a> Section<'a> {
    /// The section `[name]` that stands as `key` in this one; a missing one has defaults only.
    pub(super) fn section_or_empty(
        &self,
        key: &str,
        name: &'static str,
        keys: &'static [&'static str],
    ) -> Self {
        let reader = self.reader;
        let found = self.table.and_then(|table| reader.section_in(table, key, name, keys));
        found.unwrap_or(Section { reader, name, line: None, keys, table: None })
    }
}

/// `a string`, `an integer`.
pub(super) fn article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

/// Text from the file as a message may show it.
pub(super) fn shortened(text: &str) -> String {
    let shown: String = text.chars().take(60).collect();
    let end = if shown.len() < text.len() { "…" } else { "" };
    format!("{}{end}", shown.escape_debug())
}
