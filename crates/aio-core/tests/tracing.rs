//! What who traces sees: a span for each operation, entered while its callback runs.

#![cfg(feature = "tracing")]

mod support;

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use support::{connected, receive, with_every_runtime};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Writes down what it is told.
#[derive(Clone, Default)]
struct Notes {
    lines: Arc<Mutex<Vec<String>>>,
    spans: Arc<AtomicU64>,
}

impl Notes {
    fn note(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }

    /// Takes the notes once one of them ends with this.
    fn take_until(&self, last: &str) -> Vec<String> {
        loop {
            let mut lines = self.lines.lock().unwrap();
            if lines.iter().any(|line| line.ends_with(last)) {
                return std::mem::take(&mut *lines);
            }
            drop(lines);
            std::thread::yield_now();
        }
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!(" {field}={value:?}");
    }
}

impl Subscriber for Notes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "aio_core" || metadata.target() == "test"
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let id = Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1);
        let mut text = Text(String::new());
        attributes.record(&mut text);
        let contextual = if attributes.is_contextual() { " child of current" } else { "" };
        self.note(format!(
            "{}: new {}{}{contextual}",
            id.into_u64(),
            attributes.metadata().name(),
            text.0
        ));
        id
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        let mut text = Text(String::new());
        values.record(&mut text);
        self.note(format!("{}: has{}", id.into_u64(), text.0));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let parent = event.parent().map_or(0, Id::into_u64);
        self.note(format!("{parent}: event{}", text.0));
    }

    fn enter(&self, id: &Id) {
        self.note(format!("{}: enter", id.into_u64()));
    }

    fn exit(&self, id: &Id) {
        self.note(format!("{}: exit", id.into_u64()));
    }

    fn try_close(&self, id: Id) -> bool {
        self.note(format!("{}: close", id.into_u64()));
        true
    }
}

#[test]
fn an_operation_has_a_span_that_is_entered_while_its_callback_runs() {
    let notes = Notes::default();
    tracing::subscriber::set_global_default(notes.clone()).unwrap();
    static NOTES: std::sync::OnceLock<Notes> = std::sync::OnceLock::new();
    NOTES.set(notes).ok().unwrap();
    with_every_runtime(|runtime| {
        let notes = NOTES.get().unwrap();
        let (socket, mut peer) = connected(runtime);
        // The connect's.
        notes.take_until(": close");
        let id = notes.spans.load(Ordering::Relaxed) + 1;
        let (report, received) = mpsc::channel();
        let kept = receive(&socket, 8, &report);
        peer.write_all(b"hello").unwrap();
        received.recv().unwrap();
        let lines = notes.take_until(&format!("{id}: close"));
        let expected = [
            "new operation kind=\"receive\" child of current",
            "has socket=",
            "event message=completed bytes_transferred=5",
            "enter",
            "exit",
            "close",
        ];
        assert_eq!(lines.len(), expected.len(), "{lines:?}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.starts_with(&format!("{id}: {expected}")), "{lines:?}");
        }
        drop(kept);

        // One without a callback, canceled; and one that fails.
        let canceled = socket.receive_async([0; 1]);
        canceled.cancel();
        assert!(canceled.wait().result.is_err());
        let lines = notes.take_until(&format!("{}: close", id + 1));
        assert!(lines[2].contains("aborted") && lines[2].contains("it was canceled"), "{lines:?}");
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(runtime.tcp_v4().unwrap().send(b"no peer").is_err());
        let lines = notes.take_until(&format!("{}: close", id + 2));
        assert!(lines[2].contains("message=failed"), "{lines:?}");
    });
}
