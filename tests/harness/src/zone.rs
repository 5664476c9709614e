//! A DNS server on loopback, over UDP and TCP, whose answers a test sets while it runs.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use hickory_resolver::proto::op::{Message, MessageType};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CAA, CNAME, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

pub use hickory_resolver::proto::op::ResponseCode;
pub use hickory_resolver::proto::rr::RecordType;

/// How many aliases in a row are followed: a test may make them a circle.
const ALIASES: usize = 8;

/// Every name has the address 127.0.0.1 until it is given another, an alias or a response code.
#[derive(Clone)]
pub struct Zone {
    pub address: SocketAddr,
    content: Arc<Mutex<Content>>,
}

#[derive(Default)]
struct Content {
    names: HashMap<String, Entry>,
    /// What was asked, in order.
    asked: Vec<(String, RecordType)>,
    authentic: bool,
    /// Names about which nothing is said.
    silent: HashSet<String>,
    /// Where other programs leave TXT records.
    folder: Option<PathBuf>,
}

/// What is known of a name.
#[derive(Clone, Debug, Default)]
struct Entry {
    records: Vec<RData>,
    response_code: Option<ResponseCode>,
}

impl Zone {
    pub async fn start() -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            // TCP may have given the same port to somebody else.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let zone = Self { address: udp.local_addr().unwrap(), content: Arc::default() };
        tokio::spawn(zone.clone().serve_udp(udp));
        tokio::spawn(zone.clone().serve_tcp(tcp));
        zone
    }

    /// Adds a TXT record, in strings of at most 255 octets.
    pub fn add_txt(&self, name: &str, value: &str) {
        let strings = value.as_bytes().chunks(255);
        let strings = strings.map(|string| String::from_utf8_lossy(string).into_owned()).collect();
        self.add(name, RData::TXT(TXT::new(strings)));
    }

    /// Also answers with what other programs, such as a client's hooks, leave in a folder: a file
    /// has a name and holds the TXT records of that name, one a line.
    pub fn read_txt_from(&self, folder: PathBuf) {
        self.content().folder = Some(folder);
    }

    /// Adds an A or AAAA record. From the first on, the name no longer has 127.0.0.1 by itself.
    pub fn add_address(&self, name: &str, address: IpAddr) {
        self.add(
            name,
            match address {
                IpAddr::V4(address) => RData::A(A(address)),
                IpAddr::V6(address) => RData::AAAA(AAAA(address)),
            },
        );
    }

    /// Makes a name an alias of another.
    pub fn add_cname(&self, name: &str, target: &str) {
        let target = Name::from_ascii(format!("{}.", target.trim_end_matches('.'))).unwrap();
        self.add(name, RData::CNAME(CNAME(target)));
    }

    /// Adds a CAA record (RFC 8659), its tag and value as they stand.
    pub fn add_caa(&self, name: &str, is_critical: bool, tag: &str, value: &str) {
        let mut caa = CAA::new_issue(is_critical, None, Vec::new());
        tag.clone_into(&mut caa.tag);
        caa.value = value.as_bytes().to_vec();
        self.add(name, RData::CAA(caa));
    }

    /// Answers every question for this name with a code such as `ServFail`.
    pub fn set_response_code(&self, name: &str, code: ResponseCode) {
        self.content().names.entry(normal(name)).or_default().response_code = Some(code);
    }

    /// Whether questions for a name go unanswered.
    pub fn set_silent(&self, name: &str, is_silent: bool) {
        let mut content = self.content();
        match is_silent {
            true => content.silent.insert(normal(name)),
            false => content.silent.remove(&normal(name)),
        };
    }

    /// From here on answers carry the AD bit, as those of a validating resolver about signed zones do.
    pub fn vouch(&self) {
        self.content().authentic = true;
    }

    /// Forgets what was said of a name.
    pub fn clear(&self, name: &str) {
        self.content().names.remove(&normal(name));
    }

    /// What was asked until now, in order.
    pub fn asked(&self) -> Vec<(String, RecordType)> {
        self.content().asked.clone()
    }

    fn add(&self, name: &str, data: RData) {
        self.content().names.entry(normal(name)).or_default().records.push(data);
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }

    async fn serve_udp(self, socket: UdpSocket) {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            if let Ok(query) = Message::from_vec(&buffer[..length]) {
                let Some(answer) = self.answer(&query) else { continue };
                let mut bytes = answer.to_vec().unwrap();
                if bytes.len() > usize::from(query.max_payload()) {
                    bytes = answer.truncate().to_vec().unwrap();
                }
                let _ = socket.send_to(&bytes, peer).await;
            }
        }
    }

    async fn serve_tcp(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let zone = self.clone();
            tokio::spawn(async move { zone.converse(stream).await });
        }
    }

    async fn converse(&self, mut stream: TcpStream) -> Option<()> {
        loop {
            let mut query = vec![0; usize::from(stream.read_u16().await.ok()?)];
            stream.read_exact(&mut query).await.ok()?;
            let answer = self.answer(&Message::from_vec(&query).ok()?)?.to_vec().unwrap();
            stream.write_u16(u16::try_from(answer.len()).ok()?).await.ok()?;
            stream.write_all(&answer).await.ok()?;
        }
    }

    /// `None` where it keeps silent.
    fn answer(&self, query: &Message) -> Option<Message> {
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.metadata.message_type = MessageType::Response;
        answer.metadata.recursion_available = true;
        answer.metadata.recursion_desired = true;
        let Some(question) = query.queries.first() else {
            answer.metadata.response_code = ResponseCode::FormErr;
            return Some(answer);
        };
        answer.add_query(question.clone());
        let kind = question.query_type();
        let mut content = self.content();
        answer.metadata.authentic_data = content.authentic;
        content.asked.push((normal(&question.name().to_ascii()), kind));
        let mut name = question.name().clone();
        if content.silent.contains(&normal(&name.to_ascii())) {
            return None;
        }
        for _ in 0..ALIASES {
            let entry = content.entry(&normal(&name.to_ascii()));
            if let Some(code) = entry.response_code {
                answer.metadata.response_code = code;
                break;
            }
            let (records, alias) = entry.records_of(kind);
            for data in records {
                answer.add_answer(Record::from_rdata(name.clone(), 0, data));
            }
            match alias {
                Some(target) => name = target,
                None => break,
            }
        }
        Some(answer)
    }
}

impl Content {
    fn entry(&self, name: &str) -> Entry {
        let mut entry = self.names.get(name).cloned().unwrap_or_default();
        let left =
            self.folder.as_ref().and_then(|folder| fs::read_to_string(folder.join(name)).ok());
        for value in left.unwrap_or_default().lines() {
            entry.records.push(RData::TXT(TXT::new(vec![value.to_owned()])));
        }
        entry
    }
}

impl Entry {
    /// The records of a type; with the alias that leads on where there is one instead.
    fn records_of(self, kind: RecordType) -> (Vec<RData>, Option<Name>) {
        let alias = self.records.iter().find_map(|data| match data {
            RData::CNAME(CNAME(target)) => Some(target.clone()),
            _ => None,
        });
        if let Some(target) = alias {
            let leads_on = (kind != RecordType::CNAME).then(|| target.clone());
            return (vec![RData::CNAME(CNAME(target))], leads_on);
        }
        let is_address = |data: &RData| matches!(data, RData::A(_) | RData::AAAA(_));
        if kind == RecordType::A && !self.records.iter().any(is_address) {
            return (vec![RData::A(A(Ipv4Addr::LOCALHOST))], None);
        }
        (self.records.into_iter().filter(|data| data.record_type() == kind).collect(), None)
    }
}

fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
