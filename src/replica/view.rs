//! What this process knows of Redis: sessions, how long they may be trusted, what is being read, what is to be renewed.
//! It knows no time.

use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};

use super::known::{Entry, Known, NO_CONNECTION};
use super::lease::Lease;
use super::touches::Touches;
use super::words::{Mark, Words};
use crate::clock::{Moment, Timestamp};
use crate::session::SessionId;

/// The right to note what a command that was sent has shown. A change or another write of the session spoils it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(u64);

/// What is known of a session without asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing that may be trusted: ask Redis.
    Nothing,
    /// There is no such session.
    Missing,
    /// This.
    Text {
        /// Its text.
        text: Arc<str>,
        /// Another number for each text.
        version: u64,
        /// Until when it lives.
        deadline: Option<Timestamp>,
    },
}

/// What a command has shown: a text, `None` when there is no session, and when it ends.
pub struct Shown {
    /// Its text.
    pub text: Option<Arc<str>>,
    /// When it ends, `None` when it does not.
    pub deadline: Option<Timestamp>,
    /// Where JavaScript looks whether it is still so.
    pub slot: Option<u32>,
}

/// What a command that is under way does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// It reads.
    Load,
    /// It reads, and others may wait for it.
    SharedLoad,
    /// It writes.
    Write,
}

pub(super) struct View {
    pub(super) known: Known,
    pub(super) touches: Touches,
    lease: Lease,
    pub(super) words: Arc<Words>,
    /// The session that JavaScript keeps beside each slot.
    slots: Vec<Option<SessionId>>,
    /// What JavaScript's steady clock is ahead of this one by, in milliseconds.
    ahead: f64,
    /// Under way: the latest command of each session.
    sent: HashMap<SessionId, (Token, Sent)>,
    /// The number of the connection that tells of changes. It moves on when that is lost.
    connection: u64,
    last_number: u64,
}

impl View {
    pub(super) fn new(max_bytes: u64, max_stale: Duration) -> Self {
        Self {
            known: Known::new(max_bytes),
            touches: Touches::default(),
            lease: Lease::new(max_stale),
            words: Words::new(),
            slots: Vec::new(),
            ahead: f64::NEG_INFINITY,
            sent: HashMap::new(),
            connection: 0,
            last_number: 0,
        }
    }

    /// What is known of a session.
    pub(super) fn find(&self, id: &str, now: Timestamp, moment: Moment) -> Found {
        match self.trusted(id, now, moment) {
            None => Found::Nothing,
            Some(Entry { text: None, .. }) => Found::Missing,
            Some(Entry { text: Some(text), version, deadline, .. }) => {
                Found::Text { text: text.clone(), version: *version, deadline: *deadline }
            }
        }
    }

    /// JavaScript keeps this version of a session beside a slot.
    pub(super) fn keep(&mut self, slot: u32, id: SessionId, version: u64) {
        let at = slot as usize;
        // A former mark empties its slot when it goes, which may be the same.
        self.known.unmark(&id);
        let Some(mark) = Mark::new(&self.words, slot, version) else { return };
        self.known.mark(&id, Some(mark));
        if self.slots.len() <= at {
            self.slots.resize(at + 1, None);
        }
        self.slots[at] = Some(id);
    }

    /// JavaScript's steady clock shows this.
    pub(super) fn set_clock(&mut self, moment: Moment, steady: f64) {
        self.ahead = steady - moment.steady_millis();
        self.show_lease();
    }

    /// The session whose version stands in a slot.
    pub(super) fn kept(&self, slot: u32, version: u64) -> Option<&SessionId> {
        let id = self.slots.get(slot as usize)?.as_ref()?;
        self.known.peek(id).filter(|entry| entry.version == version && entry.connection == self.connection)?;
        Some(id)
    }

    fn show_lease(&self) {
        if let Some((steady, wall)) = self.lease.end() {
            self.words.set_lease(steady + self.ahead, wall);
        }
    }

    fn trusted(&self, id: &str, now: Timestamp, moment: Moment) -> Option<&Entry> {
        let entry = self.known.get(id).filter(|entry| entry.connection == self.connection && entry.is_live(now))?;
        self.lease.holds(moment).then_some(entry)
    }

    pub(super) fn holds_lease(&self, moment: Moment) -> bool {
        self.lease.holds(moment)
    }

    /// A new connection is made, which will tell of changes. Returns its number.
    pub(super) fn connect(&mut self) -> u64 {
        self.lose();
        self.connection
    }

    /// The connection is gone: what was known has to be read again before it is trusted.
    pub(super) fn lose(&mut self) {
        self.connection += 1;
        self.lease.lose();
        self.words.clear();
        self.sent.clear();
    }

    pub(super) fn is_connection(&self, connection: u64) -> bool {
        self.connection == connection
    }

    pub(super) fn renew_lease(&mut self, connection: u64, sent: Moment) {
        if self.is_connection(connection) {
            self.lease.renew(sent);
            self.show_lease();
        }
    }

    /// Another client changed the session. `true` when something was known of it.
    pub(super) fn invalidate(&mut self, id: &SessionId) -> bool {
        // Whoever changed it has also said when it ends: a renewal that waits is past too.
        self.forget(id)
    }

    /// Another client removed everything.
    pub(super) fn flush(&mut self) {
        self.sent.clear();
        self.touches.clear();
        self.known.clear();
    }

    /// A session is about to be read. Others may wait for the same read when it is `shared`. `None` while it is being
    /// written: that shows more than the read, and must not be kept from saying so.
    pub(super) fn begin_load(&mut self, id: &SessionId, shared: bool) -> Option<Token> {
        (!self.is_written(id)).then(|| self.begin(id, if shared { Sent::SharedLoad } else { Sent::Load }))
    }

    /// Whether a write is under way.
    pub(super) fn is_written(&self, id: &SessionId) -> bool {
        self.sent.get(id).is_some_and(|(_, sent)| *sent == Sent::Write)
    }

    /// A session is about to be written: what is known of it is past, and what is being read may be. Until Redis has said
    /// what came of it, this is what was last seen.
    pub(super) fn begin_write(&mut self, id: &SessionId) -> Token {
        self.touches.remove(id);
        self.known.distrust(id);
        self.begin(id, Sent::Write)
    }

    /// What is known of a session, and what is being read, is past. That there was none is remembered for an outage: a
    /// request that still holds a destroyed session must not bring it back then.
    pub(super) fn forget(&mut self, id: &SessionId) -> bool {
        self.sent.remove(id);
        self.touches.remove(id);
        match self.known.peek(id) {
            Some(entry) if entry.text.is_none() => self.known.distrust(id),
            _ => self.known.remove(id),
        }
    }

    fn begin(&mut self, id: &SessionId, sent: Sent) -> Token {
        self.last_number += 1;
        let token = Token(self.last_number);
        self.sent.insert(id.clone(), (token, sent));
        token
    }

    /// The read that is under way for a session and still shows what is so.
    pub(super) fn load_under_way(&self, id: &SessionId) -> Option<Token> {
        self.sent.get(id).filter(|(_, sent)| *sent == Sent::SharedLoad).map(|(token, _)| *token)
    }

    /// Notes what a command has shown. It is trusted when Redis tells of the next change, and for an outage only when it is
    /// not `tracked`. Returns its version, `None` when its token was spoiled.
    pub(super) fn enter(
        &mut self,
        id: &SessionId,
        token: Token,
        shown: Shown,
        tracked: bool,
        now: Timestamp,
    ) -> Option<u64> {
        if !self.end(id, token) {
            return None;
        }
        self.last_number += 1;
        let version = self.last_number;
        let connection = if tracked { self.connection } else { NO_CONNECTION };
        self.known.insert(id, Entry::new(shown.text, shown.deadline, version, connection), now);
        if let Some(slot) = shown.slot.filter(|_| tracked) {
            self.keep(slot, id.clone(), version);
        }
        Some(version)
    }

    /// A session was destroyed. Another client may make it anew, so nobody relies on it while Redis can be asked.
    pub(super) fn note_destroyed(&mut self, id: &SessionId, now: Timestamp) {
        if !self.sent.contains_key(id) {
            self.known.insert(id, Entry::new(None, None, 0, NO_CONNECTION), now);
        }
    }

    /// A command is over. `true` when its token was not spoiled.
    pub(super) fn end(&mut self, id: &SessionId, token: Token) -> bool {
        let is_whole = self.sent.get(id).is_some_and(|(latest, _)| *latest == token);
        if is_whole {
            self.sent.remove(id);
        }
        // What this build is made for: to see that the checker sees it.
        is_whole || cfg!(meetabl_broken = "load_without_token")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn to_keep_the_same_version_again_leaves_it_in_its_slot() {
        let mut view = View::new(1 << 20, Duration::from_secs(1));
        let id = SessionId::parse("a").expect("a usable id");
        let token = view.begin_load(&id, false).expect("nothing is under way");
        let shown = Shown { text: Some("text".into()), deadline: None, slot: Some(3) };
        let version = view.enter(&id, token, shown, true, Timestamp(0)).expect("the token is whole");
        let in_slot = |view: &View| view.words.numbers()[5].load(Ordering::Acquire);
        let before = in_slot(&view);
        view.keep(3, id, version);
        assert_eq!(in_slot(&view), before);
        assert_ne!(before, 0);
    }

    #[test]
    fn a_read_does_not_keep_a_write_from_being_noted() {
        let mut view = View::new(1 << 20, Duration::from_secs(1));
        let id = SessionId::parse("a").expect("a usable id");
        let token = view.begin_write(&id);
        assert!(view.begin_load(&id, true).is_none());
        let shown = Shown { text: Some("text".into()), deadline: None, slot: None };
        assert!(view.enter(&id, token, shown, true, Timestamp(0)).is_some());
    }
}
