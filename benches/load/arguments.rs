//! What is to be measured.

use std::time::Duration;

use crate::client::Habits;

pub(crate) const USAGE: &str = "\
cargo bench --bench load [-- OPTION...]

Without options: a short run of each kind. Else one run:
  --database sqlite|postgres     (sqlite)
  --key file|softhsm|kryoptic|slow  slow is SoftHSM2 with 5 ms for a signature (file)
  --clients N                    at once (8)
  --seconds N                    (10)
  --soak N                       seconds, with a line on memory each minute
  --orders N                     orders in the database before (0)
  --reconnect                    each issuance on a TLS connection of its own
  --poll                         ask for authorization and order once more, as most clients do
  --connections N                so many more that are idle (0)
  --nonces                       only newNonce
  --sizes                        what each certificate has left in the database
  --start N                      only the start, with N CAs in one SoftHSM2 token
  --pebble N                     in turn with Pebble, so many times, for the ratio
  --program FILE                 another kipuka, such as that of the release before";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyIn {
    File,
    SoftHsm,
    Kryoptic,
    /// SoftHSM2 whose signatures take 5 ms, of which 8 run at once.
    Slow,
}

#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) database: Database,
    pub(crate) key: KeyIn,
    pub(crate) clients: usize,
    pub(crate) time: Duration,
    pub(crate) is_soak: bool,
    pub(crate) orders: u64,
    pub(crate) habits: Habits,
    pub(crate) connections: usize,
    pub(crate) nonces: bool,
    pub(crate) sizes: bool,
    pub(crate) start: Option<usize>,
    pub(crate) pebble: u64,
    pub(crate) program: String,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            database: Database::Sqlite,
            key: KeyIn::File,
            clients: 8,
            time: Duration::from_secs(10),
            is_soak: false,
            orders: 0,
            habits: Habits { reconnects: false, polls: false },
            connections: 0,
            nonces: false,
            sizes: false,
            start: None,
            pebble: 0,
            program: env!("CARGO_BIN_EXE_kipuka").to_owned(),
        }
    }
}

impl Load {
    /// What the command line asks for; `None` where it asks for nothing.
    pub(crate) fn asked(arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        // Cargo adds this one.
        let mut arguments = arguments.filter(|argument| argument != "--bench").peekable();
        if arguments.peek().is_none() {
            return Ok(None);
        }
        let mut load = Self::default();
        while let Some(option) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{option} wants a value"));
            let number =
                |text: String| text.parse::<u64>().map_err(|_| format!("{text} is no number"));
            match option.as_str() {
                "--database" => {
                    load.database = match value()?.as_str() {
                        "sqlite" => Database::Sqlite,
                        "postgres" => Database::Postgres,
                        other => return Err(format!("no such database: {other}")),
                    }
                }
                "--key" => {
                    load.key = match value()?.as_str() {
                        "file" => KeyIn::File,
                        "softhsm" => KeyIn::SoftHsm,
                        "kryoptic" => KeyIn::Kryoptic,
                        "slow" => KeyIn::Slow,
                        other => return Err(format!("no such key: {other}")),
                    }
                }
                "--clients" => load.clients = number(value()?)?.max(1) as usize,
                "--seconds" => load.time = Duration::from_secs(number(value()?)?),
                "--soak" => {
                    load.time = Duration::from_secs(number(value()?)?);
                    load.is_soak = true;
                }
                "--orders" => load.orders = number(value()?)?,
                "--reconnect" => load.habits.reconnects = true,
                "--poll" => load.habits.polls = true,
                "--connections" => load.connections = number(value()?)? as usize,
                "--nonces" => load.nonces = true,
                "--sizes" => load.sizes = true,
                "--start" => load.start = Some(number(value()?)?.max(1) as usize),
                "--pebble" => load.pebble = number(value()?)?,
                "--program" => load.program = value()?,
                other => return Err(format!("no such option: {other}")),
            }
        }
        Ok(Some(load))
    }

    pub(crate) fn title(&self) -> String {
        let database = match self.database {
            Database::Sqlite => "SQLite, synchronous=FULL",
            Database::Postgres => "Postgres, fsync on",
        };
        let key = match self.key {
            KeyIn::File => "key file",
            KeyIn::SoftHsm => "SoftHSM2",
            KeyIn::Kryoptic => "Kryoptic",
            KeyIn::Slow => "SoftHSM2 with 5 ms for a signature",
        };
        let mut title = format!("{database}; {key}; {} clients", self.clients);
        for (is_so, words) in [
            (self.habits.reconnects, "; a connection for each issuance"),
            (self.habits.polls, "; clients that poll"),
        ] {
            title += if is_so { words } else { "" };
        }
        if self.orders > 0 {
            title += &format!("; {} orders before", self.orders);
        }
        if self.connections > 0 {
            title += &format!("; {} idle connections", self.connections);
        }
        title
    }
}
