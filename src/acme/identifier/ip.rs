//! IP addresses as identifiers (RFC 8738 §3).

use std::net::IpAddr;

/// The address that the text names, if a certificate may: one that one host has.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub(super) fn read(text: &str) -> Result<IpAddr, &'static str> {
    if text.contains('%') {
        return Err("has a zone: whose address it is depends on who asks");
    }
    if text.contains('/') {
        return Err("is a network; a certificate names single addresses");
    }
    // Neither leading zeros, which some read as octal, nor fewer than four numbers.
    let address: IpAddr = text.parse().map_err(
        |_| "is not an IP address: write 192.0.2.1 (RFC 1123 §2.1) or 2001:db8::1 (RFC 5952 §4)",
    )?;
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err("is an IPv4 address mapped to IPv6; order the IPv4 address itself")
        }
        _ if address.is_unspecified() => Err("is the unspecified address, which no host has"),
        _ if address.is_multicast() => Err("is a multicast address, which no one host has"),
        IpAddr::V4(v4) if v4.is_broadcast() => Err("is the broadcast address, which no host has"),
        _ => Ok(address),
    }
}
