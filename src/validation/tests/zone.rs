//! A little DNS server with a UDP and a TCP side.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CAA, CNAME, NS, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// Larger answers are cut short over UDP.
const MAX_UDP: usize = 1232;

/// What the server sends before the truth.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Lie {
    Id,
    Question,
}

#[derive(Default)]
pub(super) struct Zone {
    records: HashMap<Name, Vec<RData>>,
    rcodes: HashMap<Name, ResponseCode>,
    silent: Vec<Name>,
    lie: Option<(Lie, RData)>,
    authentic: bool,
    shouting: bool,
    one_link_at_a_time: bool,
    no_answer: Option<NoAnswer>,
}

/// What looks like "there is no such record", and is none.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum NoAnswer {
    /// Cut short, over TCP as well.
    CutShort,
    /// Other servers are named that might know, as a server does that does not recurse.
    Referral,
    /// The question instead of an answer.
    Echo,
    /// Records of another name.
    OtherName,
}

impl Zone {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn address(self, owner: &str, address: &str) -> Self {
        let data = match address.parse().unwrap() {
            IpAddr::V4(v4) => RData::A(A(v4)),
            IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
        };
        self.record(owner, data)
    }

    pub(super) fn txt(self, owner: &str, strings: &[&str]) -> Self {
        self.record(owner, txt(strings))
    }

    pub(super) fn cname(self, owner: &str, target: &str) -> Self {
        self.record(owner, RData::CNAME(CNAME(name(target))))
    }

    pub(super) fn caa(self, owner: &str, tag: &str, value: &str) -> Self {
        self.record(owner, caa(false, tag, value))
    }

    pub(super) fn critical_caa(self, owner: &str, tag: &str, value: &str) -> Self {
        self.record(owner, caa(true, tag, value))
    }

    pub(super) fn rcode(mut self, owner: &str, code: ResponseCode) -> Self {
        self.rcodes.insert(name(owner), code);
        self
    }

    pub(super) fn silent(mut self, owner: &str) -> Self {
        self.silent.push(name(owner));
        self
    }

    pub(super) fn lying(mut self, lie: Lie, data: RData) -> Self {
        self.lie = Some((lie, data));
        self
    }

    /// Sets the AD bit.
    pub(super) fn authentic(self) -> Self {
        Self { authentic: true, ..self }
    }

    /// Writes the names in answers in capitals.
    pub(super) fn shouting(self) -> Self {
        Self { shouting: true, ..self }
    }

    /// Does not follow CNAMEs, as an authoritative server may not.
    pub(super) fn one_link_at_a_time(self) -> Self {
        Self { one_link_at_a_time: true, ..self }
    }

    /// Never says anything of use.
    pub(super) fn evasive(self, how: NoAnswer) -> Self {
        Self { no_answer: Some(how), ..self }
    }

    fn record(mut self, owner: &str, data: RData) -> Self {
        self.records.entry(name(owner)).or_default().push(data);
        self
    }

    pub(super) async fn serve(self) -> SocketAddr {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                tokio::select! {
                    Ok((length, peer)) = udp.recv_from(&mut buffer) => {
                        for reply in self.replies(&buffer[..length], MAX_UDP) {
                            udp.send_to(&reply, peer).await.unwrap();
                        }
                    }
                    Ok((mut stream, _)) = tcp.accept() => {
                        let length = stream.read_u16().await.unwrap();
                        let mut query = vec![0; length.into()];
                        stream.read_exact(&mut query).await.unwrap();
                        for reply in self.replies(&query, usize::from(u16::MAX)) {
                            let length = u16::try_from(reply.len()).unwrap();
                            stream.write_u16(length).await.unwrap();
                            stream.write_all(&reply).await.unwrap();
                        }
                    }
                }
            }
        });
        address
    }

    fn replies(&self, bytes: &[u8], limit: usize) -> Vec<Vec<u8>> {
        let asked = Message::from_vec(bytes).unwrap();
        let query = asked.queries[0].clone();
        if self.silent.contains(&query.name) {
            return Vec::new();
        }
        if let Some(how) = self.no_answer {
            return vec![evaded(&asked, &query, how)];
        }
        let mut sent = Vec::new();
        if let Some((lie, data)) = &self.lie {
            sent.push(forged(&asked, &query, *lie, data));
        }
        let mut reply = response(asked.id, &query);
        reply.metadata.authentic_data = self.authentic && asked.metadata.authentic_data;
        let (code, answers) = self.look_up(&query);
        reply.metadata.response_code = code;
        reply.add_answers(answers);
        let mut bytes = reply.to_vec().unwrap();
        if bytes.len() > limit {
            bytes = reply.truncate().to_vec().unwrap();
        }
        sent.push(bytes);
        sent
    }

    fn look_up(&self, query: &Query) -> (ResponseCode, Vec<Record>) {
        let mut owner = query.name.clone();
        let mut answers = Vec::new();
        loop {
            if let Some(code) = self.rcodes.get(&owner) {
                return (*code, answers);
            }
            let Some(found) = self.records.get(&owner) else {
                return (ResponseCode::NXDomain, answers);
            };
            let shown = if self.shouting {
                Name::from_ascii(owner.to_ascii().to_ascii_uppercase()).unwrap()
            } else {
                owner.clone()
            };
            let mut next = None;
            for data in found {
                if data.record_type() == query.query_type {
                    answers.push(Record::from_rdata(shown.clone(), 0, data.clone()));
                } else if let RData::CNAME(target) = data {
                    answers.push(Record::from_rdata(shown.clone(), 0, data.clone()));
                    next = Some(target.0.clone());
                }
            }
            match next {
                // a loop ends where a real resolver gives up
                Some(next) if !self.one_link_at_a_time && answers.len() < 20 => owner = next,
                _ => return (ResponseCode::NoError, answers),
            }
        }
    }
}

fn forged(asked: &Message, query: &Query, lie: Lie, data: &RData) -> Vec<u8> {
    let mut query = query.clone();
    let mut id = asked.id;
    match lie {
        Lie::Id => id = id.wrapping_add(1),
        Lie::Question => query.name = name("elsewhere.test"),
    }
    let mut reply = response(id, &query);
    reply.add_answer(Record::from_rdata(asked.queries[0].name.clone(), 0, data.clone()));
    reply.to_vec().unwrap()
}

fn evaded(asked: &Message, query: &Query, how: NoAnswer) -> Vec<u8> {
    let mut reply = response(asked.id, query);
    match how {
        NoAnswer::CutShort => reply.metadata.truncation = true,
        NoAnswer::Referral => {
            reply.metadata.recursion_available = false;
            let server = RData::NS(NS(name("ns.elsewhere.test")));
            reply.authorities.push(Record::from_rdata(name("test"), 0, server));
        }
        NoAnswer::Echo => reply.metadata.message_type = MessageType::Query,
        NoAnswer::OtherName => {
            reply.add_answer(Record::from_rdata(name("elsewhere.test"), 0, txt(&["other"])));
        }
    }
    reply.to_vec().unwrap()
}

fn response(id: u16, query: &Query) -> Message {
    let mut reply = Message::new(id, MessageType::Response, OpCode::Query);
    reply.metadata.recursion_available = true;
    reply.add_query(query.clone());
    reply
}

pub(super) fn txt(strings: &[&str]) -> RData {
    RData::TXT(TXT::new(strings.iter().map(|&string| string.to_owned()).collect()))
}

fn caa(critical: bool, tag: &str, value: &str) -> RData {
    let mut caa = CAA::new_issue(critical, None, Vec::new());
    tag.clone_into(&mut caa.tag);
    caa.value = value.as_bytes().to_vec();
    RData::CAA(caa)
}

pub(super) fn record_a(address: &str) -> RData {
    RData::A(A(address.parse().unwrap()))
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}
