//! Rust source to the few facts that the rules need: which paths it names, and which strings it
//! holds. What is compiled only for tests is left out.

/// A path that begins at the root of the crate, or a name that stands for another crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) line: usize,
    /// `crate::acme::order` is `["acme", "order"]`; `sqlx::query` is `["sqlx", "query"]`.
    pub(crate) path: Vec<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// `crate::…`, `super::…` and `self::…`, all as seen from the root of the crate.
    pub(crate) inner: Vec<Named>,
    /// Other paths, as they are written.
    pub(crate) outer: Vec<Named>,
    pub(crate) strings: Vec<(usize, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Word(String),
    Text(String),
    /// `::` is one; every other sign is a character.
    Sign(&'static str),
    Other(char),
}

#[derive(Clone, Debug)]
struct Token {
    line: usize,
    kind: Kind,
}

impl Token {
    fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }

    fn is(&self, sign: char) -> bool {
        self.kind == Kind::Other(sign)
    }

    fn is_path(&self) -> bool {
        self.kind == Kind::Sign("::")
    }
}

/// `module`: where the file stands, `src/a/b.rs` and `src/a/b/mod.rs` being `["a", "b"]`.
pub(crate) fn facts(source: &str, module: &[String]) -> Facts {
    let tokens = without_tests(&tokens(source));
    let mut facts = Facts::default();
    // The modules written out in this file, with the depth of braces at which each ends.
    let mut inside: Vec<(usize, String)> = Vec::new();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match &token.kind {
            Kind::Text(text) => facts.strings.push((token.line, text.clone())),
            Kind::Other('{') => depth += 1,
            Kind::Other('}') => {
                depth = depth.saturating_sub(1);
                inside.retain(|(opened, _)| *opened <= depth);
            }
            Kind::Word(word) if word == "mod" => {
                let name = tokens.get(at + 1).and_then(Token::word);
                if let (Some(name), true) = (name, tokens.get(at + 2).is_some_and(|t| t.is('{'))) {
                    inside.push((depth + 1, name.to_owned()));
                }
            }
            Kind::Word(_) if begins_path(&tokens, at) => {
                let here = module.iter().chain(inside.iter().map(|(_, name)| name));
                let here: Vec<String> = here.cloned().collect();
                let mut named = Vec::new();
                let end = path(&tokens, at, &[], &mut named);
                let imported = at > 0 && tokens[at - 1].word() == Some("use");
                for found in named {
                    sort_out(found, &here, imported || end > at + 1, &mut facts);
                }
                // A tree of `use` holds no braces of code, so all of it can be passed over.
                at = end.max(at + 1);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    facts
}

/// Puts a path where it belongs. A single word is a name of this file, or `pub(crate)`, unless it
/// was imported.
fn sort_out(named: Named, here: &[String], is_path: bool, facts: &mut Facts) {
    let Named { line, path } = named;
    match path.first().map(String::as_str) {
        Some(_) if !is_path => {}
        Some("crate") => facts.inner.push(Named { line, path: path[1..].to_vec() }),
        Some("super" | "self") => {
            let up = path.iter().filter(|word| *word == "super").count();
            let kept = &here[..here.len().saturating_sub(up)];
            let rest = path.iter().filter(|word| !matches!(word.as_str(), "super" | "self"));
            facts.inner.push(Named { line, path: kept.iter().chain(rest).cloned().collect() });
        }
        _ => facts.outer.push(Named { line, path }),
    }
}

/// Between these and `::` a path ends, so that `use ::b` starts at the root of all crates.
const KEYWORDS: &[&str] =
    &["as", "const", "dyn", "else", "for", "impl", "in", "mut", "return", "use", "where"];

/// A word with which a path starts: neither a field nor in the middle of a path.
fn begins_path(tokens: &[Token], at: usize) -> bool {
    let back = |steps: usize| at.checked_sub(steps).and_then(|at| tokens.get(at));
    let is_back = |steps, sign| back(steps).is_some_and(|token| token.is(sign));
    let is_keyword = |word: &str| KEYWORDS.contains(&word);
    if (is_back(1, '.') && !is_back(2, '.')) || tokens[at].word().is_some_and(is_keyword) {
        return false;
    }
    if !back(1).is_some_and(Token::is_path) {
        return true;
    }
    let arrow = is_back(3, '-') || is_back(3, '=');
    let word = back(2).and_then(Token::word);
    !(word.is_some_and(|word| !is_keyword(word)) || (is_back(2, '>') && !arrow))
}

/// Reads a path or a tree of them (`a::{b, c::d}`) from `at`; returns where it ends.
fn path(tokens: &[Token], at: usize, prefix: &[String], found: &mut Vec<Named>) -> usize {
    let mut full = prefix.to_vec();
    let mut at = at;
    let mut line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        match &token.kind {
            Kind::Word(word) => {
                line = token.line;
                full.push(word.clone());
                at += 1;
            }
            Kind::Other('*') if !full.is_empty() => {
                line = token.line;
                full.push("*".to_owned());
                at += 1;
            }
            Kind::Other('{') if !full.is_empty() => {
                at += 1;
                while tokens.get(at).is_some_and(|token| !token.is('}')) {
                    let before = at;
                    at = path(tokens, at, &full, found);
                    if tokens.get(at).and_then(Token::word) == Some("as") {
                        at += 2;
                    }
                    if tokens.get(at).is_some_and(|token| token.is(',')) || at == before {
                        at += 1;
                    }
                }
                return at + 1;
            }
            _ => break,
        }
        // Only what follows `::` belongs to the path; not `<…>`, whose own paths are found alone.
        let more = tokens.get(at).is_some_and(Token::is_path)
            && tokens.get(at + 1).is_some_and(|next| {
                next.word().is_some() || next.is('{') || (next.is('*') && !full.is_empty())
            });
        if !more {
            break;
        }
        at += 1;
    }
    if full.len() > prefix.len() {
        // `{self}` is the module before the brace.
        if full.len() > 1 && full.last().is_some_and(|word| word == "self") {
            full.pop();
        }
        found.push(Named { line, path: full });
    }
    at
}

/// Drops every item that stands below `#[cfg(test)]`.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_cfg_test(tokens, at) {
            at = end_of_item(tokens, at);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

fn is_cfg_test(tokens: &[Token], at: usize) -> bool {
    let mut text = String::new();
    for token in tokens.iter().skip(at).take(7) {
        match &token.kind {
            Kind::Word(word) => text.push_str(word),
            Kind::Other(sign) => text.push(*sign),
            _ => return false,
        }
    }
    text == "#[cfg(test)]"
}

/// Behind the first `;`, or the first block, that is not within brackets.
fn end_of_item(tokens: &[Token], start: usize) -> usize {
    let mut brackets = 0_usize;
    let mut braces = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.kind {
            Kind::Other('(' | '[') => brackets += 1,
            Kind::Other(')' | ']') => brackets = brackets.saturating_sub(1),
            Kind::Other('{') => braces += 1,
            // The end of what it stands in: a field or a variant without a comma behind it.
            Kind::Other('}') if braces == 0 => return at,
            Kind::Other('}') => {
                braces -= 1;
                // `use a::{b};` ends at its semicolon.
                let semicolon = tokens.get(at + 1).is_some_and(|next| next.is(';'));
                if braces == 0 && brackets == 0 {
                    return at + 1 + usize::from(semicolon);
                }
            }
            Kind::Other(';') if braces == 0 && brackets == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut at = 0;
    while at < chars.len() {
        let (start, began) = (at, line);
        let rest = &chars[at..];
        let kind = if rest[0].is_whitespace() {
            at += 1;
            None
        } else if rest.starts_with(&['/', '/']) {
            at += rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
            None
        } else if rest.starts_with(&['/', '*']) {
            at += block_comment(rest);
            None
        } else if let Some((text, length)) = string(rest) {
            at += length;
            Some(Kind::Text(text))
        } else if rest[0] == '\'' {
            at += character(rest);
            None
        } else if rest[0].is_alphanumeric() || rest[0] == '_' {
            let length =
                rest.iter().position(|c| !(c.is_alphanumeric() || *c == '_')).unwrap_or(rest.len());
            at += length;
            let word: String = rest[..length].iter().collect();
            (!rest[0].is_numeric()).then_some(Kind::Word(word))
        } else if rest.starts_with(&[':', ':']) {
            at += 2;
            Some(Kind::Sign("::"))
        } else {
            at += 1;
            Some(Kind::Other(rest[0]))
        };
        line += chars[start..at].iter().filter(|c| **c == '\n').count();
        tokens.extend(kind.map(|kind| Token { line: began, kind }));
    }
    tokens
}

fn block_comment(rest: &[char]) -> usize {
    let mut open = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(&['/', '*']) {
            open += 1;
            at += 2;
        } else if rest[at..].starts_with(&['*', '/']) {
            open -= 1;
            at += 2;
            if open == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// A string of any kind (`""`, `r#""#`, `b""`, `c""`), its text and its length.
fn string(rest: &[char]) -> Option<(String, usize)> {
    let mut at = usize::from(matches!(rest[0], 'b' | 'c'));
    let raw = rest.get(at) == Some(&'r');
    at += usize::from(raw);
    let fences = rest[at..].iter().take_while(|c| **c == '#').count();
    if fences > 0 && !raw {
        return None;
    }
    at += fences;
    if rest.get(at) != Some(&'"') {
        return None;
    }
    at += 1;
    let mut text = String::new();
    while let Some(c) = rest.get(at) {
        if *c == '\\' && !raw {
            // A backslash at the end of a line joins the two: a space is as good.
            let next = rest.get(at + 1).copied().unwrap_or(' ');
            text.push(if next == '\n' { ' ' } else { next });
            at += 2;
            continue;
        }
        let closed =
            *c == '"' && rest[at + 1..].iter().take_while(|c| **c == '#').count() >= fences;
        if closed {
            return Some((text, at + 1 + fences));
        }
        text.push(*c);
        at += 1;
    }
    Some((text, at))
}

/// `'a'` and `'\n'`; of a lifetime only its quote and name.
fn character(rest: &[char]) -> usize {
    if rest.get(1) == Some(&'\\') {
        return rest.iter().skip(3).position(|c| *c == '\'').map_or(rest.len(), |at| at + 4);
    }
    if rest.get(2) == Some(&'\'') {
        return 3;
    }
    1 + rest[1..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count()
}
