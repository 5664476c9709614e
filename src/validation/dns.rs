//! One DNS question at a time, to a recursive resolver: its rcode and its AD bit, no cache, no
//! search list, no hosts file.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::tcp::TcpClientStream;
use hickory_resolver::net::udp::UdpClientStream;
use hickory_resolver::net::xfer::{DnsHandle, DnsRequestSender, FirstAnswer};
use hickory_resolver::proto::op::{
    DnsRequest, DnsRequestOptions, DnsResponse, Message, MessageType, Query, ResponseCode,
};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use super::outcome::{Failure, seconds};
use crate::acme::problem::ProblemType;
use crate::telemetry::metrics::ValidationMetrics;

/// As many CNAMEs in a row as are followed.
const MAX_CHAIN: usize = 16;

#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) query_timeout: Duration,
    /// TXT and CAA answers count only with the AD bit, those that say that there is nothing, too.
    pub(super) require_dnssec: bool,
    pub(super) metrics: ValidationMetrics,
}

/// The records found, at the end of any CNAMEs.
#[derive(Debug)]
pub(super) struct Answer<T> {
    pub(super) values: Vec<T>,
    pub(super) server: SocketAddr,
    /// The resolver says that DNSSEC proves it (AD bit, RFC 4035 §3.2.3).
    pub(super) authentic: bool,
}

/// A CAA record (RFC 8659 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CaaRecord {
    pub(super) critical: bool,
    /// In lower case: tags mean the same in any case.
    pub(super) tag: String,
    pub(super) value: Vec<u8>,
}

/// No records, and why, resolver by resolver.
#[derive(Debug, thiserror::Error)]
#[error("DNS {kinds} {name}: {}", list(.tried))]
pub(super) struct LookupError {
    name: String,
    kinds: String,
    tried: Vec<(SocketAddr, Cause)>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    #[error("answered NXDOMAIN: there is no such name")]
    NoSuchName,
    #[error("answered that the name is there, but without such a record")]
    NoSuchRecord,
    #[error(
        "answered without the AD bit: DNSSEC does not prove it, as require_dnssec demands (is the \
         zone signed, and does the resolver validate?)"
    )]
    NotAuthentic,
    #[error("answered {}", rcode(*.0))]
    Rcode(ResponseCode),
    #[error("answered with more than {MAX_CHAIN} CNAMEs")]
    EndlessChain,
    #[error("did not answer within {}", seconds(*.0))]
    Timeout(Duration),
    #[error("could not be asked: {0}")]
    Net(NetError),
    #[error("answered another question")]
    OtherQuestion,
    #[error("answered only in part")]
    CutShort,
    #[error("answered that others may know: it does not resolve names for kipuka")]
    Referral,
}

impl LookupError {
    /// Whether a resolver knew that there is nothing, as opposed to knowing nothing.
    pub(super) fn is_answer(&self) -> bool {
        let last = self.tried.last().map(|(_, cause)| cause);
        matches!(last, Some(Cause::NoSuchName | Cause::NoSuchRecord))
    }
}

impl From<LookupError> for Failure {
    fn from(error: LookupError) -> Self {
        let insecure = matches!(error.tried.last(), Some((_, Cause::NotAuthentic)));
        if error.is_answer() || insecure {
            Self::refused(ProblemType::Dns, error.to_string())
        } else {
            Self::unreachable(ProblemType::Dns, error.to_string())
        }
    }
}

impl Resolver {
    /// The values of all TXT records, each one's strings joined (RFC 1035 §3.3.14).
    pub(super) async fn txt(
        &self,
        name: &str,
        deadline: Instant,
    ) -> Result<Answer<Vec<u8>>, LookupError> {
        self.lookup(name, RecordType::TXT, deadline, |data| match data {
            RData::TXT(txt) => Some(txt.txt_data.concat()),
            _ => None,
        })
        .await
    }

    /// The CAA records of a name itself (RFC 8659 §3), at the end of any CNAMEs.
    pub(super) async fn caa(
        &self,
        name: &str,
        deadline: Instant,
    ) -> Result<Answer<CaaRecord>, LookupError> {
        self.lookup(name, RecordType::CAA, deadline, |data| match data {
            RData::CAA(caa) => Some(CaaRecord {
                critical: caa.issuer_critical,
                tag: caa.tag.to_ascii_lowercase(),
                value: caa.value.clone(),
            }),
            _ => None,
        })
        .await
    }

    /// IPv6 addresses first, then IPv4. Fails only where both questions do.
    pub(super) async fn addresses(
        &self,
        name: &str,
        deadline: Instant,
    ) -> Result<Answer<IpAddr>, LookupError> {
        let (v6, v4) = tokio::join!(
            self.lookup(name, RecordType::AAAA, deadline, RData::ip_addr),
            self.lookup(name, RecordType::A, deadline, RData::ip_addr),
        );
        match (v6, v4) {
            (Ok(mut v6), Ok(v4)) => {
                v6.values.extend(v4.values);
                v6.authentic &= v4.authentic;
                Ok(v6)
            }
            (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
            // the one that may pass is the one worth telling
            (Err(v6), Err(v4)) if v4.is_answer() && !v6.is_answer() => Err(v6),
            (Err(v6), Err(v4)) if v4.is_answer() => {
                Err(LookupError { kinds: format!("{} and {}", v4.kinds, v6.kinds), ..v4 })
            }
            (Err(_), Err(v4)) => Err(v4),
        }
    }

    async fn lookup<T>(
        &self,
        name: &str,
        kind: RecordType,
        deadline: Instant,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Result<Answer<T>, LookupError> {
        let failed = |tried| LookupError { name: name.to_owned(), kinds: kind.to_string(), tried };
        // The final dot keeps search lists out (docs/interop.md, rule 21).
        let mut owner = Name::from_ascii(format!("{name}.")).map_err(|error| {
            failed(
                self.servers.first().map(|&s| (s, Cause::Net(error.into()))).into_iter().collect(),
            )
        })?;
        let mut authentic = true;
        let mut server = None;
        for _ in 0..MAX_CHAIN {
            let (from, response) = self.ask(&owner, kind, deadline).await.map_err(failed)?;
            authentic &= response.metadata.authentic_data;
            if !authentic && self.require_dnssec && proves(kind) {
                return Err(failed(vec![(from, Cause::NotAuthentic)]));
            }
            if response.metadata.response_code == ResponseCode::NXDomain {
                return Err(failed(vec![(from, Cause::NoSuchName)]));
            }
            server = Some(from);
            let Some(end) = end_of_chain(&owner, &response.answers) else { break };
            let values: Vec<T> = response
                .answers
                .iter()
                .filter(|record| record.name == end)
                .filter_map(|record| read(&record.data))
                .collect();
            if !values.is_empty() {
                return Ok(Answer { values, server: from, authentic });
            }
            if end == owner {
                return Err(failed(vec![(from, Cause::NoSuchRecord)]));
            }
            // an authoritative server leaves the rest of the chain to whoever asks
            owner = end;
        }
        Err(failed(server.map(|server| (server, Cause::EndlessChain)).into_iter().collect()))
    }

    /// The first conclusive answer among the resolvers: records, or that there are none.
    async fn ask(
        &self,
        name: &Name,
        kind: RecordType,
        deadline: Instant,
    ) -> Result<(SocketAddr, Message), Vec<(SocketAddr, Cause)>> {
        let mut tried = Vec::new();
        for &server in &self.servers {
            let began = Instant::now();
            let until = deadline.min(began + self.query_timeout);
            let answered = timeout_at(until, self.exchange(server, name, kind)).await;
            let is_ours = |response: &Message| answers(response, name, kind);
            self.metrics.dns_asked(kind_of_answer(&answered, is_ours), began.elapsed());
            let cause = match answered {
                Err(_) | Ok(Err(NetError::Timeout)) => Cause::Timeout(until - began),
                Ok(Err(error)) => Cause::Net(error),
                Ok(Ok(response)) => match response.metadata.response_code {
                    // over UDP this was seen to; over TCP it was not
                    _ if !answers(&response, name, kind) => Cause::OtherQuestion,
                    _ if response.metadata.truncation => Cause::CutShort,
                    ResponseCode::NoError if is_referral(&response) => Cause::Referral,
                    ResponseCode::NoError | ResponseCode::NXDomain => {
                        return Ok((server, response));
                    }
                    code => Cause::Rcode(code),
                },
            };
            tried.push((server, cause));
        }
        Err(tried)
    }

    /// One resolver, over UDP, repeated each second; over TCP where the answer is cut short
    /// (RFC 7766 §5). The port and the id are new and random for each question.
    async fn exchange(
        &self,
        server: SocketAddr,
        name: &Name,
        kind: RecordType,
    ) -> Result<Message, NetError> {
        let provider = TokioRuntimeProvider::new();
        let mut udp = UdpClientStream::builder(server, provider.clone())
            .with_timeout(Some(self.query_timeout))
            .build();
        let response = udp.send_message(request(name, kind)).first_answer().await;
        match response {
            Ok(response) if !response.metadata.truncation => {
                return Ok(DnsResponse::into_message(response));
            }
            // an answer larger than was allowed for ends in the middle of a record
            Ok(_) | Err(NetError::Proto(_)) => {}
            Err(error) => return Err(error),
        }
        let tcp =
            TcpClientStream::exchange(server, None, self.query_timeout, None, provider).await?;
        Ok(tcp.send(request(name, kind)).first_answer().await?.into_message())
    }
}

fn request(name: &Name, kind: RecordType) -> DnsRequest {
    let mut options = DnsRequestOptions::default();
    options.retry_interval = Duration::from_secs(1);
    let mut request = DnsRequest::from_query(Query::query(name.clone(), kind), options);
    // asks for the AD bit without the signatures (RFC 6840 §5.7)
    request.metadata.authentic_data = true;
    request
}

/// Whether such records decide of themselves whether a certificate is issued. Addresses only say where
/// to look for the proof.
fn proves(kind: RecordType) -> bool {
    matches!(kind, RecordType::TXT | RecordType::CAA)
}

fn answers(response: &Message, name: &Name, kind: RecordType) -> bool {
    response.metadata.message_type == MessageType::Response
        && matches!(&response.queries[..], [query] if query.name == *name && query.query_type == kind)
}

/// Whether a server that does not recurse says whom to ask, which looks as if there were no such record.
fn is_referral(response: &Message) -> bool {
    let metadata = &response.metadata;
    !metadata.recursion_available && !metadata.authoritative && response.answers.is_empty()
}

/// Where the CNAMEs in this answer lead from `owner`; `None` if they never end.
fn end_of_chain(owner: &Name, answers: &[Record]) -> Option<Name> {
    let mut end = owner;
    for _ in 0..MAX_CHAIN {
        let next = answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *end => Some(&target.0),
            _ => None,
        });
        match next {
            Some(target) => end = target,
            None => return Some(end.clone()),
        }
    }
    None
}

fn rcode(code: ResponseCode) -> String {
    match code {
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        other => format!("rcode {} ({other})", u16::from(other)),
    }
}

/// For the metrics: an rcode, or why there is none.
fn kind_of_answer(
    answered: &Result<Result<Message, NetError>, Elapsed>,
    is_ours: impl Fn(&Message) -> bool,
) -> &'static str {
    match answered {
        Err(_) | Ok(Err(NetError::Timeout)) => "timeout",
        Ok(Err(_)) => "error",
        Ok(Ok(response)) if !is_ours(response) => "mismatch",
        Ok(Ok(response)) => match response.metadata.response_code {
            ResponseCode::NoError => "NOERROR",
            ResponseCode::NXDomain => "NXDOMAIN",
            ResponseCode::ServFail => "SERVFAIL",
            ResponseCode::Refused => "REFUSED",
            ResponseCode::FormErr => "FORMERR",
            ResponseCode::NotImp => "NOTIMP",
            _ => "other",
        },
    }
}

fn list(tried: &[(SocketAddr, Cause)]) -> String {
    let each: Vec<String> =
        tried.iter().map(|(server, cause)| format!("{server} {cause}")).collect();
    each.join("; ")
}

/// Reads an answer as [`Resolver::txt`] and [`Resolver::addresses`] do.
#[cfg(fuzzing)]
pub(crate) fn fuzz(answer: &[u8]) {
    use hickory_resolver::proto::serialize::binary::BinDecodable as _;
    let Ok(message) = Message::from_bytes(answer) else { return };
    let Some(query) = message.queries.first() else { return };
    let (owner, kind) = (query.name().clone(), query.query_type());
    let _ = answers(&message, &owner, kind);
    let Some(end) = end_of_chain(&owner, &message.answers) else { return };
    for record in message.answers.iter().filter(|record| record.name == end) {
        match &record.data {
            RData::TXT(txt) => drop(super::outcome::excerpt(&txt.txt_data.concat())),
            data => drop(data.ip_addr()),
        }
    }
}
