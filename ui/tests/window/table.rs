//! The table of keys.

use sightglass_ui::keys::{BINDINGS, Scope};

#[test]
fn no_two_keys_clash() {
    for (index, one) in BINDINGS.iter().enumerate() {
        for other in &BINDINGS[index + 1..] {
            let same = one.key == other.key && one.modifiers == other.modifiers;
            assert!(
                !(same && one.scope.overlaps(other.scope)),
                "{} means {:?} and {:?}",
                one.label(),
                one.action,
                other.action
            );
        }
    }
}

#[test]
fn every_action_is_explained() {
    for binding in BINDINGS {
        let explained = BINDINGS.iter().any(|other| {
            other.action == binding.action && other.scope == binding.scope && !other.description.is_empty()
        });
        assert!(explained, "{} does {:?} and the help does not say so", binding.label(), binding.action);
    }
}

#[test]
fn scopes_overlap_where_screens_do() {
    for scope in Scope::ALL {
        assert!(scope.overlaps(scope) && scope.overlaps(Scope::Everywhere));
    }
    assert!(Scope::Panels.overlaps(Scope::Review));
    assert!(!Scope::Overview.overlaps(Scope::Review));
}
