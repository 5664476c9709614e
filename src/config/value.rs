//! Takes values of the right kind out of a section.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

use super::mistake::{At, Place};
use super::reader::{Section, article, shortened};

impl<'a> Section<'a> {
    /// Where `key` stands, or else where the section begins.
    pub(super) fn place(&self, key: &str) -> Place {
        let line = self.table.and_then(|table| table.get_key_value(key)).map(|(at, _)| at.span());
        let line = line.map(|span| self.reader.line_at(span.start)).or(self.line);
        Place::new(line, format!("{}.{key}", self.name))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        debug_assert!(self.keys.contains(&key), "{key} is missing from KEYS");
        self.table?.get(key)
    }

    pub(super) fn wrong(&self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.reader.mistake(&self.place(key), what, remedy);
    }

    /// Remembers that `key` is missing, unless it is there and was found wrong.
    pub(super) fn missing(&self, key: &str, remedy: &str) {
        if !self.has(key) {
            self.wrong(key, "is missing", remedy);
        }
    }

    fn wrong_type(&self, place: &Place, wanted: &str, found: &DeValue<'_>) {
        // The value itself stays out of the message: it may be a PIN without its quotes.
        let remedy = match (wanted, found) {
            ("string", DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_)) => {
                "write it in quotes".to_owned()
            }
            ("integer" | "boolean", DeValue::String(_)) => "write it without quotes".to_owned(),
            ("array", _) => "write a list in brackets: [\"…\", \"…\"]".to_owned(),
            _ => format!("write {} here", article(wanted)),
        };
        let what = format!("wants {}, not {}", article(wanted), article(found.type_str()));
        self.reader.mistake(place, what, remedy);
    }

    /// A string that is neither empty nor holds control characters.
    pub(super) fn string(&self, key: &str) -> Option<At<&'a str>> {
        self.string_in(self.place(key), self.value(key)?.get_ref())
    }

    fn string_in(&self, place: Place, value: &'a DeValue<'a>) -> Option<At<&'a str>> {
        let DeValue::String(text) = value else {
            self.wrong_type(&place, "string", value);
            return None;
        };
        if text.is_empty() {
            self.reader.mistake(&place, "is empty", "give it a value, or remove the line");
            return None;
        }
        if text.chars().any(char::is_control) {
            self.reader.mistake(&place, "holds a control character", "write it on one line");
            return None;
        }
        Some(At { value: text, place })
    }

    /// A list of strings, each with its own line.
    pub(super) fn strings(&self, key: &str) -> Option<Vec<At<&'a str>>> {
        let value = self.value(key)?.get_ref();
        let DeValue::Array(items) = value else {
            self.wrong_type(&self.place(key), "array", value);
            return None;
        };
        let item = |item: &'a Spanned<DeValue<'a>>| {
            let line = self.reader.line_at(item.span().start);
            let place = Place::new(Some(line), format!("{}.{key}", self.name));
            self.string_in(place, item.get_ref())
        };
        Some(items.iter().filter_map(item).collect())
    }

    /// Whether a list stands there that has nothing in it.
    pub(super) fn is_empty_list(&self, key: &str) -> bool {
        matches!(self.value(key).map(Spanned::get_ref), Some(DeValue::Array(items)) if items.is_empty())
    }

    /// The names and strings of a table within this section.
    pub(super) fn table(&self, key: &str) -> Option<Vec<(At<&'a str>, &'a str)>> {
        let value = self.value(key)?.get_ref();
        let DeValue::Table(table) = value else {
            self.wrong_type(&self.place(key), "table", value);
            return None;
        };
        let entry = |(name, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let name_text: &'a std::borrow::Cow<'a, str> = name.get_ref();
            let line = self.reader.line_at(name.span().start);
            let shown = format!("{}.{key}.{}", self.name, shortened(name_text));
            let value = self.string_in(Place::new(Some(line), shown), value.get_ref())?;
            Some((At { value: name_text.as_ref(), place: value.place }, value.value))
        };
        Some(table.iter().filter_map(entry).collect())
    }

    pub(super) fn boolean(&self, key: &str) -> Option<bool> {
        match self.value(key)?.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            other => {
                self.wrong_type(&self.place(key), "boolean", other);
                None
            }
        }
    }

    /// A whole number within `range`.
    pub(super) fn integer(&self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(key)?.get_ref();
        let DeValue::Integer(integer) = value else {
            self.wrong_type(&self.place(key), "integer", value);
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let remedy = format!("write a number from {} to {}", range.start(), range.end());
            self.wrong(key, format!("{} is out of range", shortened(&integer.to_string())), remedy);
        }
        number
    }

    /// Whether a string stands there, for keys that may be an integer instead.
    pub(super) fn is_string(&self, key: &str) -> bool {
        matches!(self.value(key).map(Spanned::get_ref), Some(DeValue::String(_)))
    }

    /// A string that reads as a `T`.
    pub(super) fn parsed<T: FromStr>(&self, key: &str, remedy: &str) -> Option<At<T>> {
        let text = self.string(key)?;
        self.parse(text, remedy)
    }

    pub(super) fn parse<T: FromStr>(&self, text: At<&str>, remedy: &str) -> Option<At<T>> {
        if let Ok(value) = text.value.parse() {
            return Some(At { value, place: text.place });
        }
        let what = format!("`{}` is not understood", shortened(text.value));
        self.reader.mistake(&text.place, what, remedy);
        None
    }

    /// A list of networks; an address alone is a network of one.
    pub(super) fn networks(&self, key: &str) -> Option<Vec<IpNet>> {
        let mut networks = Vec::new();
        for text in self.strings(key)? {
            let bare = || text.value.parse().map(|ip: IpAddr| IpNet::from(ip));
            match text.value.parse::<IpNet>().or_else(|_| bare()) {
                Ok(network) => networks.push(network.trunc()),
                Err(_) => self.reader.mistake(
                    &text.place,
                    format!("`{}` is not a network", shortened(text.value)),
                    "write an address, or one and the length of its prefix: \"10.0.0.7\", \"fd00::/8\"",
                ),
            }
        }
        Some(networks)
    }

    /// A list of paths.
    pub(super) fn paths(&self, key: &str) -> Option<Vec<At<PathBuf>>> {
        let texts = self.strings(key)?;
        Some(texts.into_iter().map(|text| text.map(|text| self.reader.resolved(text))).collect())
    }

    /// A path; a relative one is taken from the folder of the configuration file.
    pub(super) fn path(&self, key: &str) -> Option<At<PathBuf>> {
        Some(self.string(key)?.map(|text| self.reader.resolved(text)))
    }
}
