//! Lines on their way to stderr: those of the same hundredth of a second are written together, since to
//! wake whoever reads them costs more than to make them.
//!
//! Warnings and errors are written at once, with all that came before them: what explains a crash is out
//! before the crash.

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
pub(super) struct Gathered(Arc<Way>);

/// The lines are written when this is dropped; those that come later are written as they come.
pub(super) struct Gathering(Gathered);

struct Way {
    waiting: Mutex<Waiting>,
    /// There is a first line.
    begun: Condvar,
    /// Held while it is written to. Whoever needs both locks takes this one first.
    out: Mutex<Box<dyn Write + Send>>,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Nobody gathers any more.
    over: bool,
}

/// Begins to gather what is written to `out`.
pub(super) fn gather(out: impl Write + Send + 'static) -> io::Result<(Gathered, Gathering)> {
    let way =
        Way { waiting: Mutex::default(), begun: Condvar::new(), out: Mutex::new(Box::new(out)) };
    let gathered = Gathered(Arc::new(way));
    let writer = gathered.clone();
    std::thread::Builder::new().name("kipuka-log".to_owned()).spawn(move || writer.run())?;
    Ok((gathered.clone(), Gathering(gathered)))
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
        let waiting = self.0.begun.wait_while(self.waiting(), no_line);
        !waiting.unwrap_or_else(PoisonError::into_inner).over
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Lines are added and taken as a whole.
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_out(&self) {
        let mut out = self.0.out.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = mem::take(&mut self.waiting().lines);
        // There is nowhere to say that it failed.
        let _ = out.write_all(&lines).and_then(|()| out.flush());
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
            self.0.begun.notify_one();
        }
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        self.0.waiting().over = true;
        self.0.0.begun.notify_one();
        self.0.write_out();
    }
}

/// Where one line goes.
pub(super) struct Line<'a> {
    gathered: &'a Gathered,
    urgent: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.gathered.add(line, self.urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Gathered {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { gathered: self, urgent: true }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line { gathered: self, urgent: *metadata.level() <= Level::WARN }
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
}
