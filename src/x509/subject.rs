//! The name of a CA (RFC 5280 §4.1.2.6): from text (RFC 4514), or as a certificate or a CSR has it.

use std::fmt;
use std::str::FromStr;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc3280::EMAIL_ADDRESS;
use const_oid::db::rfc4519;
use der::{Decode, Encode};
use openssl::error::ErrorStack;
use openssl::x509::X509Name;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::ext::pkix::name::DirectoryString;
use x509_cert::name::Name;

/// A distinguished name that is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    der: Vec<u8>,
    text: String,
}

/// Why a text is no name for a CA, in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SubjectError {
    #[error("it is empty; write at least CN=…")]
    Empty,
    #[error("it cannot be read as a name in DER (RFC 5280 §4.1.2.4)")]
    Malformed,
    #[error(
        "OpenSSL's -subj begins with a slash and has the country first; here (RFC 4514) the common \
         name comes first: {0}"
    )]
    OpenSsl(String),
    #[error("{0:?} is no attribute with its value; write such as CN=Example CA,O=Example,C=DE")]
    NoAttribute(String),
    #[error(
        "{0:?} is no attribute of a name; use CN, O, OU, L, ST, C, STREET, DC, UID, serialNumber or \
         emailAddress"
    )]
    UnknownType(String),
    #[error("{0:?} has a {1:?} that is no separator: write a backslash in front of it")]
    Unescaped(String, char),
    #[error("{0:?} has a space at an end: remove it, or write a backslash in front of it")]
    Space(String),
    #[error("{0:?} has a backslash that escapes nothing; for a backslash itself write \\5c")]
    Backslash(String),
    #[error("{0:?} is given as DER; write its text")]
    Hex(String),
    #[error("{0:?} holds a character that this attribute cannot hold")]
    Characters(String),
    #[error("{0:?} is empty; leave it out")]
    NoValue(String),
    #[error("{0:?} has {1} characters, and RFC 5280 allows {2} (appendix A.1)")]
    TooLong(String, usize, usize),
    #[error("{0:?} is no country of two capital letters (ISO 3166), such as DE")]
    Country(String),
}

/// The attributes that a name is made of here, with the most characters that RFC 5280 appendix A.1
/// allows.
const TYPES: [(&str, ObjectIdentifier, usize); 11] = [
    ("CN", rfc4519::COMMON_NAME, 64),
    ("O", rfc4519::ORGANIZATION_NAME, 64),
    ("OU", rfc4519::ORGANIZATIONAL_UNIT_NAME, 64),
    ("L", rfc4519::LOCALITY_NAME, 128),
    ("ST", rfc4519::ST, 128),
    ("C", rfc4519::COUNTRY_NAME, 2),
    ("STREET", rfc4519::STREET, 128),
    ("DC", rfc4519::DOMAIN_COMPONENT, 63),
    ("UID", rfc4519::USER_ID, 256),
    ("serialNumber", rfc4519::SERIAL_NUMBER, 64),
    ("emailAddress", EMAIL_ADDRESS, 255),
];

impl Subject {
    /// Takes a name over from a certificate or a CSR, byte for byte.
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, SubjectError> {
        let name = Name::from_der(der).map_err(|_| SubjectError::Malformed)?;
        // x509-cert puts a SET in order: a name that it writes otherwise is not DER, and no
        // certificate below could name it faithfully.
        if name.to_der().as_deref() != Ok(der) {
            return Err(SubjectError::Malformed);
        }
        if name.is_empty() {
            return Err(SubjectError::Empty);
        }
        Ok(Self { der: der.to_vec(), text: name.to_string() })
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whether both are the same name (RFC 5280 §7.1), though one may be encoded otherwise: CAs write
    /// a name in string types of their own choice.
    pub(crate) fn names_the_same(&self, other: &Self) -> bool {
        let name = |subject: &Self| X509Name::from_der(&subject.der).ok();
        let same = match (name(self), name(other)) {
            (Some(one), Some(other)) => matches!(one.try_cmp(&other), Ok(order) if order.is_eq()),
            _ => false,
        };
        drop(ErrorStack::get());
        same
    }
}

/// As RFC 4514 writes a name: the last of its attributes first.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// As RFC 4514 has it, but stricter, for x509-cert takes some texts for other than they look: what
/// must be escaped must be, and an attribute must be one that a CA's name has use for.
impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        if text.trim().is_empty() {
            return Err(SubjectError::Empty);
        }
        if text.starts_with('/') {
            return Err(SubjectError::OpenSsl(from_openssl(text)));
        }
        // With this out of the way a separator is escaped exactly if a backslash stands before it.
        if text.contains(r"\\") {
            return Err(SubjectError::Backslash(text.to_owned()));
        }
        let mut plain = String::new();
        for (place, (separator, attribute)) in attributes(text).into_iter().enumerate() {
            // Many write a space behind the comma; it cannot belong to the attribute's type.
            let attribute = attribute.trim_start_matches(' ');
            check_text(attribute)?;
            if place > 0 {
                plain.push(separator);
            }
            plain.push_str(attribute);
        }
        let name = Name::from_str(&plain).map_err(|_| SubjectError::Characters(text.to_owned()))?;
        name.iter().try_for_each(check_value)?;
        let der = name.to_der().map_err(|_| SubjectError::Malformed)?;
        Self::from_der(&der)
    }
}

/// The attributes, each with the separator before it.
fn attributes(text: &str) -> Vec<(char, &str)> {
    let mut attributes = Vec::new();
    let (mut begin, mut separator, mut escaped) = (0, ',', false);
    for (place, c) in text.char_indices() {
        if matches!(c, ',' | '+') && !escaped {
            attributes.push((separator, &text[begin..place]));
            (begin, separator) = (place + 1, c);
        }
        escaped = c == '\\';
    }
    attributes.push((separator, &text[begin..]));
    attributes
}

/// The checks that must be made before the escapes are gone.
fn check_text(attribute: &str) -> Result<(), SubjectError> {
    let whole = || attribute.to_owned();
    let Some((kind, value)) = attribute.split_once('=') else {
        return Err(SubjectError::NoAttribute(whole()));
    };
    if !TYPES.iter().any(|(name, ..)| name.eq_ignore_ascii_case(kind)) {
        return Err(SubjectError::UnknownType(kind.to_owned()));
    }
    if value.is_empty() {
        return Err(SubjectError::NoValue(whole()));
    }
    if value.starts_with('#') {
        return Err(SubjectError::Hex(whole()));
    }
    let ends_in_space = value.ends_with(' ') && !value.ends_with("\\ ");
    if value.starts_with(' ') || ends_in_space {
        return Err(SubjectError::Space(whole()));
    }
    let mut escaped = false;
    for c in value.chars() {
        if matches!(c, '"' | ';' | '<' | '>') && !escaped {
            return Err(SubjectError::Unescaped(whole(), c));
        }
        escaped = c == '\\';
    }
    if escaped { Err(SubjectError::Backslash(whole())) } else { Ok(()) }
}

fn check_value(attribute: &AttributeTypeAndValue) -> Result<(), SubjectError> {
    // Escapes may have made of it what the string type cannot hold.
    let value = match DirectoryString::try_from(&attribute.value) {
        Ok(text) => text.value().into_owned(),
        Err(_) => attribute
            .value
            .decode_as::<der::asn1::Ia5StringRef<'_>>()
            .map(|text| text.as_str().to_owned())
            .map_err(|_| SubjectError::Characters(attribute.to_string()))?,
    };
    if value.contains(char::is_control) {
        return Err(SubjectError::Characters(attribute.to_string()));
    }
    if attribute.oid == rfc4519::COUNTRY_NAME {
        let letters = value.len() == 2 && value.bytes().all(|b| b.is_ascii_uppercase());
        return if letters { Ok(()) } else { Err(SubjectError::Country(attribute.to_string())) };
    }
    let most =
        TYPES.iter().find(|(_, oid, _)| *oid == attribute.oid).map_or(64, |(.., most)| *most);
    match value.chars().count() {
        length if length > most => Err(SubjectError::TooLong(attribute.to_string(), length, most)),
        _ => Ok(()),
    }
}

/// The RFC 4514 form of what OpenSSL's `-subj` takes: slashes separate, and the order is the other.
fn from_openssl(text: &str) -> String {
    let mut attributes: Vec<String> = Vec::new();
    for part in text.split('/').skip(1) {
        match attributes.last_mut() {
            // A slash in a value, escaped by a backslash.
            Some(before) if before.ends_with('\\') => {
                before.pop();
                before.push('/');
                before.push_str(part);
            }
            _ => attributes.push(part.to_owned()),
        }
    }
    attributes.reverse();
    attributes.iter().map(|part| part.replace(',', "\\,")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(text: &str) -> Result<Subject, SubjectError> {
        text.parse()
    }

    #[test]
    fn a_name_is_encoded_with_its_last_attribute_first() {
        let name = subject("CN=Example CA,O=Example,C=DE").unwrap();
        assert_eq!(
            name.der(),
            b"\x30\x34\x31\x0b\x30\x09\x06\x03\x55\x04\x06\x13\x02DE\
              \x31\x10\x30\x0e\x06\x03\x55\x04\x0a\x0c\x07Example\
              \x31\x13\x30\x11\x06\x03\x55\x04\x03\x0c\x0aExample CA"
        );
        assert_eq!(name.to_string(), "CN=Example CA,O=Example,C=DE");
        assert_eq!(subject("cn=Example CA, o=Example, c=DE"), Ok(name));
    }

    #[test]
    fn what_is_escaped_is_kept() {
        for (text, value) in [
            (r"CN=Example\, Inc.", "Example, Inc."),
            (r"CN=a\+b\=c\;\<\>\#", "a+b=c;<>#"),
            (r"CN=\ a\ ", " a "),
            (r"CN=back\5cslash", r"back\slash"),
            ("CN=Größe", "Größe"),
            (r"CN=Gr\c3\b6\c3\9fe", "Größe"),
            ("CN=a=b/c", "a=b/c"),
        ] {
            let der = subject(text).unwrap().der().to_vec();
            assert!(der.ends_with(value.as_bytes()), "{text}");
            assert_eq!(der[der.len() - value.len() - 2], 0x0c, "{text} is a UTF8String");
        }
        let two = subject("CN=b+OU=a,O=c").unwrap();
        assert_eq!(two.to_string(), "CN=b+OU=a,O=c");
    }

    #[test]
    fn what_could_be_misread_is_refused() {
        use SubjectError as E;
        let s = str::to_owned;
        let long = format!("CN={}", "a".repeat(65));
        for (text, error) in [
            ("", E::Empty),
            ("  ", E::Empty),
            ("Example", E::NoAttribute(s("Example"))),
            ("CN=a,,O=b", E::NoAttribute(s(""))),
            ("CN=a,", E::NoAttribute(s(""))),
            ("CN=a,Inc.", E::NoAttribute(s("Inc."))),
            ("CM=a", E::UnknownType(s("CM"))),
            ("CN =a", E::UnknownType(s("CN "))),
            ("sha256WithRSAEncryption=a", E::UnknownType(s("sha256WithRSAEncryption"))),
            ("CN=", E::NoValue(s("CN="))),
            ("CN=a;O=b", E::Unescaped(s("CN=a;O=b"), ';')),
            ("CN=\"a\"", E::Unescaped(s("CN=\"a\""), '"')),
            ("CN= a", E::Space(s("CN= a"))),
            ("CN=a ,O=b", E::Space(s("CN=a "))),
            (r"CN=a\", E::Backslash(s(r"CN=a\"))),
            (r"CN=a\\\,O=b", E::Backslash(s(r"CN=a\\\,O=b"))),
            (r"CN=a\zb", E::Characters(s(r"CN=a\zb"))),
            ("CN=#0c0161", E::Hex(s("CN=#0c0161"))),
            (&long, E::TooLong(long.clone(), 65, 64)),
            ("C=Germany", E::Country(s("C=Germany"))),
            ("C=de", E::Country(s("C=de"))),
            ("/C=DE/O=Example, Inc./CN=a", E::OpenSsl(s(r"CN=a,O=Example\, Inc.,C=DE"))),
            (r"/CN=a\/b", E::OpenSsl(s("CN=a/b"))),
        ] {
            assert_eq!(subject(text), Err(error), "{text}");
        }
        for text in [r"CN=\ff", r"CN=a\00", "CN=a\nb", "emailAddress=é@a.test", "serialNumber=a*b"]
        {
            assert!(matches!(subject(text), Err(E::Characters(_))), "{text}: {:?}", subject(text));
        }
    }

    #[test]
    fn one_name_in_two_string_types_is_the_same_name() {
        let mine = subject("CN=Example CA").unwrap();
        let mut printable = mine.der().to_vec();
        let tag = printable.len() - "Example CA".len() - 2;
        printable[tag] = 0x13;
        let theirs = Subject::from_der(&printable).unwrap();
        assert_ne!(mine, theirs);
        assert!(mine.names_the_same(&theirs));
        assert!(!mine.names_the_same(&subject("CN=Example CB").unwrap()));
        assert_eq!(Subject::from_der(&[0x30, 0]), Err(SubjectError::Empty));
        assert_eq!(Subject::from_der(b"garbage"), Err(SubjectError::Malformed));
    }
}
