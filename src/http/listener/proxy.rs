//! The PROXY protocol (versions 1 and 2): whom a load balancer speaks for.

use std::io;
use std::net::SocketAddr;

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Of version 2, with all that a proxy may add to the addresses; longer ones are refused.
const MAX_V2: usize = 2048;
/// Of version 1, with the end of its line.
const MAX_V1: usize = 107;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Reads the header, and nothing behind it: the client's address, or `None` where the proxy speaks for
/// itself, as it does to see whether anybody listens.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, io::Error> {
    // The shortest of version 1 is longer.
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        header.resize(16, 0);
        stream.read_exact(&mut header[SIGNATURE.len()..]).await?;
        let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if rest > MAX_V2 {
            return Err(wrong("is too long"));
        }
        header.resize(16 + rest, 0);
        stream.read_exact(&mut header[16..]).await?;
        let header =
            v2::Header::try_from(header.as_slice()).map_err(|error| wrong(&error.to_string()))?;
        return Ok(match (header.command, header.addresses) {
            (v2::Command::Local, _) => None,
            (_, v2::Addresses::IPv4(at)) => Some((at.source_address, at.source_port).into()),
            (_, v2::Addresses::IPv6(at)) => Some((at.source_address, at.source_port).into()),
            (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
        });
    }
    while !header.ends_with(b"\n") {
        if header.len() >= MAX_V1 {
            return Err(wrong("has no end"));
        }
        header.push(stream.read_u8().await?);
    }
    let header =
        v1::Header::try_from(header.as_slice()).map_err(|error| wrong(&error.to_string()))?;
    Ok(match header.addresses {
        v1::Addresses::Tcp4(at) => Some((at.source_address, at.source_port).into()),
        v1::Addresses::Tcp6(at) => Some((at.source_address, at.source_port).into()),
        v1::Addresses::Unknown => None,
    })
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the PROXY header {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn outcome(bytes: &[u8]) -> (Result<Option<String>, String>, Vec<u8>) {
        let mut stream = bytes;
        let read = read(&mut stream).await;
        let read = read.map(|address| address.map(|address| address.to_string()));
        (read.map_err(|error| error.to_string()), stream.to_vec())
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    #[tokio::test]
    async fn both_versions_are_read_and_not_a_byte_more() {
        let ipv4 = [192, 0, 2, 1, 192, 0, 2, 9, 0x12, 0x67, 0x01, 0xbb];
        let with_tlv = [&ipv4[..], &[0x04, 0, 2, 0, 0]].concat();
        let ipv6 = ["2001:db8::1", "2001:db8::9"]
            .map(|address| address.parse::<std::net::Ipv6Addr>().unwrap().octets())
            .concat();
        let ipv6 = [&ipv6[..], &[0x12, 0x67, 0x01, 0xbb]].concat();
        for (header, expected) in [
            (b"PROXY TCP4 192.0.2.1 192.0.2.9 4711 443\r\n".to_vec(), Some("192.0.2.1:4711")),
            (
                b"PROXY TCP6 2001:db8::1 2001:db8::9 4711 443\r\n".to_vec(),
                Some("[2001:db8::1]:4711"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (v2(1, 0x11, &ipv4), Some("192.0.2.1:4711")),
            (v2(1, 0x11, &with_tlv), Some("192.0.2.1:4711")),
            (v2(1, 0x21, &ipv6), Some("[2001:db8::1]:4711")),
            (v2(0, 0x00, &[]), None),
            (v2(0, 0x11, &ipv4), None),
        ] {
            let sent = [&header[..], b"\x16\x03\x01hello"].concat();
            let expected = (Ok(expected.map(str::to_owned)), b"\x16\x03\x01hello".to_vec());
            assert_eq!(outcome(&sent).await, expected, "{header:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let long = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
        for bytes in [
            &b""[..],
            b"PROXY",
            b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.9 4711\r\n",
            b"PROXY TCP4 a.test 192.0.2.9 4711 443\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.9 4711 443\n",
            b"PROXY TCP9 192.0.2.1 192.0.2.9 4711 443\r\n",
            &long,
            &v2(1, 0x11, &[1, 2, 3]),
            &v2(7, 0x11, &[0; 12]),
            &v2(1, 0x11, &vec![0; MAX_V2 + 1]),
        ] {
            assert!(outcome(bytes).await.0.is_err(), "{bytes:?}");
        }
    }
}
