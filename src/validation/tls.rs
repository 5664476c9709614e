//! The two ways validation speaks TLS: to fetch over https, where a proof of the name is what is
//! still missing, and to read a challenge certificate.

use std::sync::Arc;

use der::asn1::AnyRef;
use der::{Decode, Encode};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use x509_cert::Certificate;

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls_openssl::default_provider())
}

/// Takes any certificate, good or bad: https is only where an http redirect happened to lead.
pub(super) fn unverified(provider: &Arc<CryptoProvider>) -> Result<Arc<ClientConfig>, Error> {
    let mut config = client(provider, Arc::new(AnyServer(algorithms(provider))))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Offers `acme-tls/1` alone (RFC 8737 §3). The server proves that it holds the key of the
/// certificate it shows; the certificate is the caller's to judge.
pub(super) fn acme_tls_1(provider: &Arc<CryptoProvider>) -> Result<Arc<ClientConfig>, Error> {
    let mut config = client(provider, Arc::new(HolderOfKey(algorithms(provider))))?;
    config.alpn_protocols = vec![super::tls_alpn01::PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

fn client(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // a resumed session would show the certificate of an earlier attempt
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn algorithms(provider: &CryptoProvider) -> WebPkiSupportedAlgorithms {
    provider.signature_verification_algorithms
}

#[derive(Debug)]
struct AnyServer(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Verifies the handshake with the certificate's bare key: webpki would refuse the certificate
/// for its critical acmeIdentifier, which RFC 8737 §3 demands.
#[derive(Debug)]
struct HolderOfKey(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for HolderOfKey {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let certificate = parse(certificate)?;
        let key = certificate.tbs_certificate().subject_public_key_info();
        let algorithm = key.algorithm.to_der().map_err(|_| bad_encoding())?;
        let algorithm = AnyRef::from_der(&algorithm).map_err(|_| bad_encoding())?;
        // in TLS 1.2 a scheme does not name the curve: the key does (RFC 8422 §5.1.1)
        let verified = self
            .0
            .mapping
            .iter()
            .filter(|(scheme, _)| *scheme == signed.scheme)
            .flat_map(|(_, candidates)| candidates.iter())
            .filter(|candidate| *candidate.public_key_alg_id() == *algorithm.value())
            .any(|candidate| {
                let key = key.subject_public_key.raw_bytes();
                candidate.verify_signature(key, message, signed.signature()).is_ok()
            });
        if verified {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(CertificateError::BadSignature.into())
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = parse(certificate)?.tbs_certificate().subject_public_key_info().to_der();
        let key = SubjectPublicKeyInfoDer::from(key.map_err(|_| bad_encoding())?);
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

fn parse(certificate: &CertificateDer<'_>) -> Result<Certificate, Error> {
    Certificate::from_der(certificate).map_err(|_| bad_encoding())
}

fn bad_encoding() -> Error {
    CertificateError::BadEncoding.into()
}
