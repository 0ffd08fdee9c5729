//! Loops over samples with the vectors that this processor has.

use rten_simd::{Isa, SimdOp};

/// Does `work`, compiled for the widest vectors that this processor has. They do the same operations in the same order
/// as narrower ones, so that the result is the same on every machine. `work` and all that it calls must be
/// `#[inline(always)]`, or they are compiled for every processor.
pub fn widely<R>(work: impl FnOnce() -> R) -> R {
    struct Work<F>(F);

    impl<R, F: FnOnce() -> R> SimdOp for Work<F> {
        type Output = R;

        #[inline(always)]
        fn eval<I: Isa>(self, _: I) -> R {
            (self.0)()
        }
    }

    Work(work).dispatch()
}
