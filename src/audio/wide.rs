//! Loops over samples with wider vectors than every processor has.

use rten_simd::{Isa, SimdOp};

/// Does `work` with the widest vectors that this processor has. The same operations in the same order, whichever these
/// are, so that its result is the same everywhere. It is to be `#[inline(always)]`, and so is what it calls.
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
