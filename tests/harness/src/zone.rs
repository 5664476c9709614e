//! A DNS server on loopback whose answers a test sets.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, TXT};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;

type Texts = Arc<Mutex<HashMap<String, Vec<String>>>>;

/// Every name has the address 127.0.0.1, and the TXT records that were added.
#[derive(Clone)]
pub struct Zone {
    pub address: SocketAddr,
    texts: Texts,
}

impl Zone {
    pub async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let zone = Self { address: socket.local_addr().unwrap(), texts: Texts::default() };
        let texts = Arc::clone(&zone.texts);
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
                if let Ok(query) = Message::from_vec(&buffer[..length]) {
                    let answer = answer(&query, &texts);
                    let _ = socket.send_to(&answer.to_vec().unwrap(), peer).await;
                }
            }
        });
        zone
    }

    /// Adds a TXT record.
    pub fn add_txt(&self, name: &str, value: &str) {
        let mut texts = self.texts.lock().unwrap();
        texts.entry(name.to_ascii_lowercase()).or_default().push(value.to_owned());
    }
}

fn answer(query: &Message, texts: &Texts) -> Message {
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.metadata.message_type = MessageType::Response;
    answer.metadata.recursion_available = true;
    answer.metadata.recursion_desired = true;
    let Some(question) = query.queries.first() else {
        answer.metadata.response_code = ResponseCode::FormErr;
        return answer;
    };
    answer.add_query(question.clone());
    let name = question.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let record = |data| Record::from_rdata(question.name().clone(), 0, data);
    match question.query_type() {
        RecordType::A => {
            answer.add_answer(record(RData::A(A(Ipv4Addr::LOCALHOST))));
        }
        RecordType::TXT => {
            for value in texts.lock().unwrap().get(&name).into_iter().flatten() {
                answer.add_answer(record(RData::TXT(TXT::new(vec![value.clone()]))));
            }
        }
        _ => {}
    }
    answer
}
