//! A CA's certificate and those above it, as a file holds them and as a client gets them.

use super::issuer::{IssuerCertificate, IssuerError};
use super::name_constraints::NameConstraints;
use super::pem::{self, PemError};

/// The issuing CA's certificate, then each the issuer of the one before (RFC 8555 §9.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    issuer: IssuerCertificate,
    above: Vec<IssuerCertificate>,
}

/// Why a file is no CA's chain. Places count from 1, the CA's own certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChainError {
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error("holds no PEM certificate")]
    Empty,
    #[error("holds a PEM block of type {0:?}; only CERTIFICATE blocks may be there")]
    ForeignBlock(String),
    #[error("certificate {place} {error}")]
    Certificate { place: usize, error: IssuerError },
    #[error(
        "certificate {place} ({subject}) is not issued by the one after it ({issuer}); the CA's own \
         certificate comes first, then the one that issued it, and so on"
    )]
    Order { place: usize, subject: String, issuer: String },
    #[error(
        "certificate {place} ({subject}) allows {allowed} CA certificates below it, and there are \
         {found}"
    )]
    PathLength { place: usize, subject: String, allowed: u8, found: usize },
}

impl Chain {
    /// Reads a PEM file. Whether its certificates have expired is the caller's to judge: that
    /// depends on the time.
    pub(crate) fn from_pem(text: &str) -> Result<Self, ChainError> {
        let mut certificates = Vec::new();
        for (block, place) in pem::blocks(text)?.into_iter().zip(1..) {
            if block.label != "CERTIFICATE" {
                return Err(ChainError::ForeignBlock(block.label));
            }
            let certificate = IssuerCertificate::from_der(&block.der)
                .map_err(|error| ChainError::Certificate { place, error })?;
            certificates.push(certificate);
        }
        Self::new(certificates)
    }

    /// Puts certificates together, the issuing CA's first.
    pub(crate) fn new(certificates: Vec<IssuerCertificate>) -> Result<Self, ChainError> {
        for (pair, place) in certificates.windows(2).zip(1..) {
            let [subject, issuer] = pair else { continue };
            if !subject.is_issued_by(issuer) {
                return Err(ChainError::Order {
                    place,
                    subject: subject.subject().to_owned(),
                    issuer: issuer.subject().to_owned(),
                });
            }
            if let Some(allowed) = issuer.path_len()
                && usize::from(allowed) < place
            {
                return Err(ChainError::PathLength {
                    place: place + 1,
                    subject: issuer.subject().to_owned(),
                    allowed,
                    found: place,
                });
            }
        }
        let mut certificates = certificates.into_iter();
        let issuer = certificates.next().ok_or(ChainError::Empty)?;
        Ok(Self { issuer, above: certificates.collect() })
    }

    /// The CA's own certificate: the one whose key signs.
    pub(crate) fn issuer(&self) -> &IssuerCertificate {
        &self.issuer
    }

    /// All certificates, the CA's own first.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = &IssuerCertificate> {
        std::iter::once(&self.issuer).chain(&self.above)
    }

    /// What each certificate has to say about the names below it.
    pub(crate) fn name_constraints(&self) -> Vec<NameConstraints> {
        self.certificates()
            .filter_map(|certificate| certificate.name_constraints().cloned())
            .collect()
    }

    /// The second until which every certificate is valid.
    pub(crate) fn not_after_s(&self) -> i64 {
        self.above
            .iter()
            .map(IssuerCertificate::not_after_s)
            .fold(self.issuer.not_after_s(), i64::min)
    }

    /// What a client downloads behind its certificate (RFC 8555 §7.4.2): the CA that issued it and
    /// those between it and the root. The root is left out, since whoever trusts it has it, unless
    /// it is the very CA that issued: clients such as certbot refuse a chain of one certificate.
    pub(crate) fn download_chain(&self) -> String {
        let mut text = String::new();
        pem::push_certificate(&mut text, self.issuer.der());
        for certificate in self.above.iter().filter(|certificate| !certificate.is_self_signed()) {
            pem::push_certificate(&mut text, certificate.der());
        }
        text
    }

    /// A whole download: the certificate, then [`Self::download_chain`].
    pub(crate) fn to_pem(&self, certificate_der: &[u8]) -> String {
        download_pem(certificate_der, &self.download_chain())
    }

    /// The chain as a file that [`Self::from_pem`] reads, root included.
    pub(crate) fn to_file(&self) -> String {
        let mut text = String::new();
        for certificate in self.certificates() {
            pem::push_certificate(&mut text, certificate.der());
        }
        text
    }
}

/// A whole download: the certificate, then what [`Chain::download_chain`] gave.
pub(crate) fn download_pem(certificate_der: &[u8], download_chain: &str) -> String {
    let mut text = String::new();
    pem::push_certificate(&mut text, certificate_der);
    text + download_chain
}
