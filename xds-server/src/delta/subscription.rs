//! What a client has asked for of one type, and what it is owed for having asked.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

/// The name that stands for every resource of a type.
pub const WILDCARD: &str = "*";

/// The subscription of one stream to one type, as the xDS protocol has it ("How the client
/// specifies what resources to return" and "Unsubscribing From Resources").
#[derive(Debug, Default)]
pub struct Subscription {
    wildcard: bool,
    names: HashSet<Arc<str>>,
    owed: Owed,
}

/// What the next push must send whether or not it changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// Everything the client may see.
    pub all: bool,
    /// A response, even an empty one: the client asked for everything and must learn that there
    /// is nothing.
    pub answer: bool,
    /// These names: the resource as it is now, or that there is none.
    pub names: BTreeMap<Arc<str>, Why>,
}

/// Why a name is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// The client asked for it and does not know whether it exists.
    Asked,
    /// The client holds it at another version, or holds what is gone.
    Held,
}

impl Owed {
    /// Whether nothing is owed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.all && !self.answer && self.names.is_empty()
    }
}

impl Subscription {
    /// Reads the first request of a type. One that subscribes to nothing by name stands for all,
    /// as older clients have it.
    #[must_use]
    pub fn first(subscribe: &[String], unsubscribe: &[String]) -> Self {
        let mut subscription = Self::default();
        if subscribe.is_empty() {
            subscription.subscribe(WILDCARD);
        }
        subscription.update(subscribe, unsubscribe);
        subscription.owed.answer = subscription.wildcard;
        subscription
    }

    /// Reads a later request of the type. Gives whether it asks for anything.
    pub fn update(&mut self, subscribe: &[String], unsubscribe: &[String]) -> bool {
        let mut asks = false;
        for name in subscribe {
            asks |= self.subscribe(name);
        }
        for name in unsubscribe {
            asks |= self.unsubscribe(name);
        }
        asks
    }

    fn subscribe(&mut self, name: &str) -> bool {
        if name == WILDCARD {
            let new = !self.wildcard;
            self.wildcard = true;
            self.owed.all |= new;
            self.owed.answer |= new;
            return new;
        }
        let name: Arc<str> = name.into();
        self.names.insert(name.clone());
        // Owed even if it was before: the client may have dropped it in between.
        self.owed.names.entry(name).or_insert(Why::Asked);
        true
    }

    fn unsubscribe(&mut self, name: &str) -> bool {
        if name == WILDCARD {
            self.wildcard = false;
            self.drop_unwanted();
            return false;
        }
        let Some(name) = self.names.take(name) else {
            return false;
        };
        if self.wildcard {
            // It may still be the client's by the wildcard: the client waits to be told.
            self.owed.names.entry(name).or_insert(Why::Asked);
            true
        } else {
            self.owed.names.remove(&name);
            false
        }
    }

    fn drop_unwanted(&mut self) {
        if !self.wildcard {
            let names = &self.names;
            self.owed.all = false;
            self.owed.answer = false;
            self.owed.names.retain(|name, _| names.contains(name));
        }
    }

    /// Whether the client wants the resource of this name.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// Whether it asks for all resources.
    #[must_use]
    pub const fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// Whether it asks for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.wildcard && self.names.is_empty()
    }

    /// How many names it subscribes to; `None` for all of them.
    #[must_use]
    pub fn count(&self) -> Option<usize> {
        (!self.wildcard).then_some(self.names.len())
    }

    /// How many names are kept because the client asked for them.
    #[must_use]
    pub fn size(&self) -> usize {
        let asked = self.owed.names.values().filter(|why| **why == Why::Asked);
        self.names.len().max(asked.count())
    }

    /// What is owed.
    #[must_use]
    pub const fn owed(&self) -> &Owed {
        &self.owed
    }

    /// Puts `owed` in place of what is owed: the client turned out to know more.
    pub fn set_owed(&mut self, owed: Owed) {
        self.owed = owed;
        self.drop_unwanted();
    }

    /// Owes all that is subscribed to, whatever the client has of it.
    pub fn owe_everything(&mut self) {
        self.owed.all = self.wildcard;
        for name in &self.names {
            self.owed.names.insert(name.clone(), Why::Held);
        }
    }

    /// Takes what is owed, to be sent.
    pub fn take_owed(&mut self) -> Owed {
        std::mem::take(&mut self.owed)
    }

    /// Owes again what was taken and did not arrive, as far as it is still wanted.
    pub fn owe(&mut self, owed: Owed) {
        self.owed.all |= owed.all;
        self.owed.answer |= owed.answer;
        if owed.all && !self.wildcard {
            // The names it has kept went with all the others.
            let names = self.names.iter().cloned();
            self.owed.names.extend(names.map(|name| (name, Why::Held)));
        }
        for (name, why) in owed.names {
            let known = self.owed.names.entry(name).or_insert(why);
            *known = (*known).max(why);
        }
        self.drop_unwanted();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    fn first(subscribe: &[&str]) -> Subscription {
        Subscription::first(&names(subscribe), &[])
    }

    fn owed(subscription: &Subscription) -> Vec<&str> {
        subscription.owed().names.keys().map(|n| &**n).collect()
    }

    #[test]
    fn a_name_that_was_to_come_with_all_others_is_owed_when_only_it_is_left() {
        let mut subscription = first(&["*", "a"]);
        let taken = subscription.take_owed();
        subscription.update(&[], &names(&["*"]));
        subscription.owe(Owed {
            all: taken.all,
            ..Owed::default()
        });
        assert_eq!(owed(&subscription), ["a"]);
        assert!(!subscription.owed().all);
    }

    #[test]
    fn a_first_request_without_names_is_a_subscription_to_all() {
        for subscription in [first(&[]), first(&["*"])] {
            assert!(subscription.is_wildcard());
            assert!(subscription.owed().all && subscription.owed().answer);
            assert_eq!(subscription.count(), None);
        }
    }

    #[test]
    fn a_later_request_without_names_changes_nothing() {
        let mut subscription = first(&["a"]);
        assert!(!subscription.update(&[], &[]));
        assert!(!subscription.is_wildcard());
        subscription.update(&[], &names(&["a"]));
        assert!(!subscription.update(&[], &[]));
        assert!(subscription.is_empty());
    }

    #[test]
    fn names_keep_the_legacy_wildcard_until_it_is_dropped() {
        let mut subscription = first(&[]);
        subscription.take_owed();
        assert!(subscription.update(&names(&["a"]), &[]));
        assert!(subscription.wants("b"));
        assert!(!subscription.update(&[], &names(&["*"])));
        assert!(subscription.wants("a") && !subscription.wants("b"));
        assert_eq!(owed(&subscription), ["a"]);
    }

    #[test]
    fn a_name_subscribed_again_is_owed_again() {
        let mut subscription = first(&["a", "b"]);
        assert_eq!(owed(&subscription), ["a", "b"]);
        subscription.take_owed();
        assert!(subscription.update(&names(&["a"]), &[]));
        assert_eq!(owed(&subscription), ["a"]);
    }

    #[test]
    fn a_name_dropped_under_a_wildcard_is_answered() {
        let mut subscription = first(&["*", "a"]);
        subscription.take_owed();
        assert!(subscription.update(&[], &names(&["a"])));
        assert_eq!(owed(&subscription), ["a"]);
        assert!(
            !subscription.update(&[], &names(&["b"])),
            "never subscribed"
        );
    }

    #[test]
    fn a_name_dropped_otherwise_is_owed_no_more() {
        let mut subscription = first(&["a"]);
        assert!(!subscription.update(&[], &names(&["a"])));
        assert!(subscription.owed().is_empty());
    }

    #[test]
    fn the_wildcard_taken_again_owes_everything_again() {
        let mut subscription = first(&["*"]);
        subscription.take_owed();
        assert!(!subscription.update(&names(&["*"]), &[]), "still held");
        subscription.update(&[], &names(&["*"]));
        assert!(subscription.update(&names(&["*"]), &[]));
        assert!(subscription.owed().all);
    }

    #[test]
    fn what_did_not_arrive_is_owed_unless_unwanted_by_now() {
        let mut subscription = first(&["a", "b"]);
        let taken = subscription.take_owed();
        subscription.update(&[], &names(&["b"]));
        subscription.owe(taken);
        assert_eq!(owed(&subscription), ["a"]);
    }
}
