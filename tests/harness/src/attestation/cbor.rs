//! CBOR (RFC 8949) as far as attestation objects need it.

/// A value to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cbor {
    Int(i64),
    Bytes(Vec<u8>),
    Text(String),
    Array(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

impl Cbor {
    pub fn encode(&self) -> Vec<u8> {
        let length = |length: usize| u64::try_from(length).unwrap();
        match self {
            Self::Int(number) => match u64::try_from(*number) {
                Ok(positive) => head(0, positive),
                Err(_) => head(1, u64::try_from(-1 - number).unwrap()),
            },
            Self::Bytes(bytes) => [head(2, length(bytes.len())), bytes.clone()].concat(),
            Self::Text(text) => [head(3, length(text.len())), text.clone().into_bytes()].concat(),
            Self::Array(items) => {
                let items = items.iter().flat_map(Self::encode);
                let items: Vec<u8> = items.collect();
                [head(4, length(self.len())), items].concat()
            }
            Self::Map(members) => {
                let members = members.iter();
                let members: Vec<u8> = members
                    .flat_map(|(name, value)| [name.encode(), value.encode()].concat())
                    .collect();
                [head(5, length(self.len())), members].concat()
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Array(items) => items.len(),
            Self::Map(members) => members.len(),
            _ => 0,
        }
    }
}

/// A major type with its argument, in the shortest form.
fn head(major: u8, argument: u64) -> Vec<u8> {
    let major = major << 5;
    let bytes = argument.to_be_bytes();
    match argument {
        0..24 => vec![major | bytes[7]],
        24..0x100 => vec![major | 24, bytes[7]],
        0x100..0x1_0000 => [&[major | 25], &bytes[6..]].concat(),
        0x1_0000..0x1_0000_0000 => [&[major | 26], &bytes[4..]].concat(),
        _ => [&[major | 27], &bytes[..]].concat(),
    }
}
