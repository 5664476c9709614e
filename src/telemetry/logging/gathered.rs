//! Lines on their way to stderr: those of the same hundredth of a second are written together, since to
//! wake whoever reads them costs more than to make them.
//!
//! Warnings and errors are written at once, with all that came before them. A process that is killed takes
//! its last informational lines along.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line waits for others.
const GATHERING: Duration = Duration::from_millis(10);
/// In bytes; where more waits, whoever logs waits for the reader.
const MOST: usize = 64 * 1024;

/// The way to stderr, which any thread may take.
#[derive(Clone)]
pub(super) struct Gathered {
    way: Arc<Way>,
}

/// The lines are written when this is dropped; those that come later are written as they come.
pub(super) struct Gathering {
    gathered: Gathered,
}

struct Way {
    waiting: Mutex<Waiting>,
    /// There is a first line.
    begun: Condvar,
    /// Whoever needs both locks takes this one first.
    out: Mutex<Out>,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Nobody gathers any more.
    over: bool,
}

struct Out {
    stream: Box<dyn Write + Send>,
    /// The last byte that was written: a line that could not be written to its end is ended all the same.
    last: u8,
}

impl Out {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.last != b'\n' {
            self.write_all(b"\n")?;
        }
        self.write_all(lines)?;
        self.stream.flush()
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let [_, ..] = bytes {
            match self.stream.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.last = bytes[written - 1];
                    bytes = &bytes[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Begins to gather what is written to a stream.
pub(super) fn gather(stream: impl Write + Send + 'static) -> io::Result<(Gathered, Gathering)> {
    let out = Out { stream: Box::new(stream), last: b'\n' };
    let way = Way { waiting: Mutex::default(), begun: Condvar::new(), out: Mutex::new(out) };
    let gathered = Gathered { way: Arc::new(way) };
    let writer = gathered.clone();
    std::thread::Builder::new().name("kipuka-log".to_owned()).spawn(move || writer.run())?;
    Ok((gathered.clone(), Gathering { gathered }))
}

impl Gathered {
    fn run(&self) {
        while self.wait() {
            std::thread::sleep(GATHERING);
            self.write_out();
        }
    }

    /// Until there is a line; `false` where there will be none any more.
    fn wait(&self) -> bool {
        let no_line = |waiting: &mut Waiting| waiting.lines.is_empty() && !waiting.over;
        let waiting = self.way.begun.wait_while(self.waiting(), no_line);
        !waiting.unwrap_or_else(PoisonError::into_inner).over
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Lines are added and taken as a whole.
        self.way.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_out(&self) {
        let mut out = self.way.out.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = mem::take(&mut self.waiting().lines);
        // There is nowhere to say that it failed.
        let _ = out.write(&lines);
    }

    /// Adds a line, and writes it at once if it is urgent.
    fn add(&self, line: &[u8], urgent: bool) {
        let mut waiting = self.waiting();
        let first = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(line);
        if urgent || waiting.over || waiting.lines.len() > MOST {
            drop(waiting);
            self.write_out();
        } else if first {
            self.way.begun.notify_one();
        }
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        self.gathered.waiting().over = true;
        self.gathered.way.begun.notify_one();
        self.gathered.write_out();
    }
}

/// The way of one line.
pub(super) struct Single<'a> {
    gathered: &'a Gathered,
    urgent: bool,
}

impl Write for Single<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.gathered.add(line, self.urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Gathered {
    type Writer = Single<'a>;

    fn make_writer(&'a self) -> Single<'a> {
        Single { gathered: self, urgent: true }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Single<'a> {
        Single { gathered: self, urgent: *metadata.level() <= Level::WARN }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Sends each piece that is written.
    struct Pieces(mpsc::Sender<Vec<u8>>);

    impl Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn pieces() -> (Gathered, Gathering, mpsc::Receiver<Vec<u8>>) {
        let (sender, pieces) = mpsc::channel();
        let (gathered, gathering) = gather(Pieces(sender)).unwrap();
        (gathered, gathering, pieces)
    }

    #[test]
    fn lines_are_written_soon_in_their_order_and_none_is_lost() {
        let (gathered, _gathering, pieces) = pieces();
        let lines: Vec<_> = (0..1000).map(|number| format!("{number}\n")).collect();
        for line in &lines {
            gathered.add(line.as_bytes(), false);
        }
        let (expected, mut written) = (lines.concat(), Vec::new());
        while written.len() < expected.len() {
            written.extend(pieces.recv_timeout(Duration::from_secs(10)).unwrap());
        }
        assert_eq!(written, expected.as_bytes());
    }

    #[test]
    fn a_warning_is_out_before_the_program_goes_on_and_so_is_what_came_before_it() {
        let (gathered, _gathering, pieces) = pieces();
        gathered.add(b"first\n", false);
        gathered.add(b"warning\n", true);
        let written: Vec<_> = pieces.try_iter().flatten().collect();
        assert_eq!(written, b"first\nwarning\n");
    }

    #[test]
    fn nothing_is_lost_at_the_end_nor_after_it() {
        let (gathered, gathering, pieces) = pieces();
        gathered.add(b"last\n", false);
        drop(gathering);
        gathered.add(b"after it\n", false);
        let written: Vec<_> = pieces.try_iter().flatten().collect();
        assert_eq!(written, b"last\nafter it\n");
    }

    #[test]
    fn what_waits_is_bounded_by_having_the_next_who_logs_wait() {
        let (sender, reader) = mpsc::sync_channel(0);
        struct Slow(mpsc::SyncSender<()>);
        impl Write for Slow {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.send(()).map_err(io::Error::other)?;
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (gathered, gathering) = gather(Slow(sender)).unwrap();
        let other = gathered.clone();
        let logging = std::thread::spawn(move || {
            for _ in 0..10 {
                other.add(&[b'x'; MOST / 2], false);
            }
        });
        // Nobody reads: the thread that logs does not come to its end.
        std::thread::sleep(GATHERING * 5);
        assert!(!logging.is_finished());
        assert!(gathered.waiting().lines.len() <= 2 * MOST);
        while reader.recv_timeout(Duration::from_millis(200)).is_ok() {}
        logging.join().unwrap();
        drop((reader, gathering));
    }

    #[test]
    fn a_line_that_was_cut_is_ended_before_the_next() {
        /// Takes four bytes, then nothing once, then everything.
        struct Full(mpsc::Sender<Vec<u8>>, u8);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1 += 1;
                let taken = match self.1 {
                    1 => &bytes[..4],
                    2 => return Err(io::ErrorKind::WouldBlock.into()),
                    _ => bytes,
                };
                self.0.send(taken.to_vec()).map_err(io::Error::other)?;
                Ok(taken.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (sender, pieces) = mpsc::channel();
        let (gathered, _gathering) = gather(Full(sender, 0)).unwrap();
        gathered.add(b"a line\n", true);
        gathered.add(b"another\n", true);
        let written: Vec<_> = pieces.try_iter().flatten().collect();
        assert_eq!(written, b"a li\nanother\n");
    }
}
