//! The identity of a device as a name (RFC 4043).

use std::fmt;

use const_oid::ObjectIdentifier;
use der::asn1::{Any, Utf8StringRef};
use der::{Decode, Encode, Sequence};
use x509_cert::ext::pkix::name::{GeneralName, OtherName};

/// A `PermanentIdentifier` with an identifierValue, which draft-ietf-acme-device-attest §3.2 demands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PermanentIdentifier {
    pub(crate) value: String,
    /// Who gave the device this identity, as a dotted OID.
    pub(crate) assigner: Option<String>,
}

/// RFC 4043 §2.
#[derive(Sequence)]
struct Fields<'a> {
    #[asn1(optional = "true")]
    identifier_value: Option<Utf8StringRef<'a>>,
    #[asn1(optional = "true")]
    assigner: Option<ObjectIdentifier>,
}

impl fmt::Display for PermanentIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "permanent-identifier:{}", self.value)?;
        self.assigner.as_ref().map_or(Ok(()), |assigner| write!(f, "/{assigner}"))
    }
}

impl PermanentIdentifier {
    /// id-on-permanentIdentifier.
    pub(crate) const OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.8.3");

    /// Reads the value of an otherName of this type.
    pub(crate) fn read(value: &Any) -> Option<Self> {
        let der = value.to_der().ok()?;
        let fields = Fields::from_der(&der).ok()?;
        Some(Self {
            value: fields.identifier_value?.as_str().to_owned(),
            assigner: fields.assigner.map(|assigner| assigner.to_string()),
        })
    }

    /// The name as a subjectAltName holds it.
    pub(super) fn general_name(&self) -> Result<GeneralName, der::Error> {
        let assigner = self.assigner.as_deref().map(ObjectIdentifier::new);
        let fields = Fields {
            identifier_value: Some(Utf8StringRef::new(&self.value)?),
            assigner: assigner.transpose().map_err(|_| der::Tag::ObjectIdentifier.value_error())?,
        };
        let value = Any::encode_from(&fields)?;
        Ok(GeneralName::OtherName(OtherName { type_id: Self::OID, value }))
    }
}
