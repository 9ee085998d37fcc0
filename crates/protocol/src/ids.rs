//! Identities within one plant: positions in the order of its description.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl $name {
            /// The position as an index.
            pub const fn index(self) -> usize {
                self.0 as usize
            }

            /// The identity of the item at `index`. Plants are limited far below the inner type's range.
            pub const fn from_index(index: usize) -> Self {
                Self(index as $inner)
            }
        }
    };
}

id!(
    /// A production line: one pipeline, one clock, one model.
    LineId,
    u16
);
id!(
    /// A tag (measurement, setpoint, output or mode) of the plant.
    TagId,
    u32
);
id!(
    /// A camera of the plant.
    CameraId,
    u16
);
