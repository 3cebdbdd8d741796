//! Numbers by the value that was written.
//!
//! A binary fraction holds 53 bits: read into one, 9007199254740993 is 9007199254740992 and
//! 100.0000000000000000000000001 is 100. What a policy says of a number must not pass for another,
//! so numbers keep their text and are compared digit by digit.

use core::cmp::Ordering;

/// Longest number with a value, in bytes of its text. Decimal128, the widest type that is usual,
/// has 34 digits; the bound keeps comparing with a thousand listed numbers cheap.
pub(crate) const MAX_NUMBER_BYTES: usize = 256;

/// Largest exponent of a number with a value, above and below zero; decimal128 ends at 6,144.
pub(crate) const MAX_NUMBER_EXPONENT: i64 = 9_999;

/// A number as it was written, of any length. Equal (`==`) is the text, not the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Number(Box<str>);

/// The value `0.d₁d₂…dₙ · 10^exponent`, in which neither d₁ nor dₙ is 0; zero has no digits.
#[derive(Debug, Clone, Copy)]
struct Decimal<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    /// Zeros that `whole` and `fraction` begin with.
    skipped: usize,
    /// Digits behind them that count.
    count: usize,
    exponent: i64,
}

impl Number {
    /// The number of this text, which must be one of strict JSON. Any other has no value.
    pub(super) fn written(text: &str) -> Self {
        Self(text.into())
    }

    /// The number nearest to `value`; `None` for what is none.
    pub(crate) fn of_f64(value: f64) -> Option<Self> {
        let number = serde_json::Number::from_f64(value)?;
        Some(Self(number.to_string().into()))
    }

    /// Its text as it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The whole number that its text is, where that is digits alone.
    pub(crate) fn as_u64(&self) -> Option<u64> {
        self.0.parse().ok()
    }

    /// As [`Self::as_u64`], with a sign.
    pub(crate) fn as_i128(&self) -> Option<i128> {
        self.0.parse().ok()
    }

    /// The double nearest to it, for making others from; infinite beyond all doubles.
    pub(crate) fn near_f64(&self) -> Option<f64> {
        self.0.parse().ok()
    }

    /// Whether it has a value that can be compared: one within [`MAX_NUMBER_BYTES`] and
    /// [`MAX_NUMBER_EXPONENT`].
    pub(crate) fn has_value(&self) -> bool {
        self.value().is_some()
    }

    /// Whether it has a value and that is whole, however it is written: `5.0`, `0.5e1`.
    pub(crate) fn is_whole(&self) -> bool {
        let whole =
            |value: Decimal<'_>| i64::try_from(value.count).is_ok_and(|n| n <= value.exponent);
        self.value().is_some_and(whole)
    }

    /// How it compares by value, exactly; `None` where one has none.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        Some(self.value()?.compare(other.value()?))
    }

    fn value(&self) -> Option<Decimal<'_>> {
        if self.0.len() > MAX_NUMBER_BYTES {
            return None;
        }
        let (negative, text) = match self.0.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, &*self.0),
        };
        let (mantissa, power) = match text.split_once(['e', 'E']) {
            Some((mantissa, power)) => (mantissa, power.parse().ok()?),
            None => (text, 0),
        };
        if !(-MAX_NUMBER_EXPONENT..=MAX_NUMBER_EXPONENT).contains(&power) {
            return None;
        }
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = || whole.bytes().chain(fraction.bytes());
        if !digits().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let skipped = digits().take_while(|b| *b == b'0').count();
        let ending = digits().rev().take_while(|b| *b == b'0').count();
        let total = whole.len() + fraction.len();
        let count = total.saturating_sub(skipped + ending);
        let (whole_len, zeros) = (
            i64::try_from(whole.len()).ok()?,
            i64::try_from(skipped).ok()?,
        );
        Some(Decimal {
            negative: negative && count > 0,
            whole,
            fraction,
            skipped,
            count,
            exponent: if count > 0 {
                whole_len - zeros + power
            } else {
                0
            },
        })
    }
}

impl From<i128> for Number {
    fn from(value: i128) -> Self {
        Self(value.to_string().into())
    }
}

impl Decimal<'_> {
    fn digits(&self) -> impl Iterator<Item = u8> {
        let all = self.whole.bytes().chain(self.fraction.bytes());
        all.skip(self.skipped).take(self.count)
    }

    fn compare(self, other: Self) -> Ordering {
        let sign = |value: Self| match (value.count, value.negative) {
            (0, _) => 0,
            (_, true) => -1,
            (_, false) => 1,
        };
        let larger = || {
            let exponents = self.exponent.cmp(&other.exponent);
            exponents.then_with(|| self.digits().cmp(other.digits()))
        };
        sign(self).cmp(&sign(other)).then_with(|| {
            if self.negative {
                larger().reverse()
            } else {
                larger()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each is less than the next.
    #[test]
    fn numbers_are_in_order_by_value() {
        let ordered = [
            "-1e9999",
            "-123456789012345678901234567891",
            "-123456789012345678901234567890",
            "-100.0000000000000000000000001",
            "-100",
            "-0.1",
            "-1e-9999",
            "0",
            "1e-9999",
            "0.09999999999999999999999999",
            "0.1",
            "1",
            "1.0000000000000000000000000001",
            "99.9",
            "100",
            "100.0000000000000000000000001",
            "9007199254740992",
            "9007199254740993",
            "9007199254740993.5",
            "18446744073709551615",
            "18446744073709551616",
            "123456789012345678901234567890",
            "123456789012345678901234567891",
            "1e400",
            "9.9e400",
            "1e9999",
        ]
        .map(Number::written);
        for (at, a) in ordered.iter().enumerate() {
            for (other, b) in ordered.iter().enumerate() {
                assert_eq!(a.compare(b), Some(at.cmp(&other)), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn a_value_may_be_written_in_many_ways() {
        for same in [
            &["0", "-0", "0.0", "-0.000e5", "0e9999"][..],
            &["1", "1.0", "10e-1", "0.1e1", "0.01E+2", "1e0", "1e-0000"],
            &["-12.5", "-125e-1", "-0.0125e3", "-12.500"],
            &[
                "9007199254740993",
                "9007199254740993.0",
                "9.007199254740993e15",
            ],
        ] {
            for (a, b) in same.iter().flat_map(|a| same.iter().map(move |b| (a, b))) {
                let order = Number::written(a).compare(&Number::written(b));
                assert_eq!(order, Some(Ordering::Equal), "{a} {b}");
            }
        }
    }

    #[test]
    fn whole_is_by_value() {
        for (text, whole) in [
            ("5", true),
            ("5.0", true),
            ("0.5e1", true),
            ("500e-2", true),
            ("-0.0", true),
            ("1e400", true),
            ("5.0000000000000000001", false),
            ("5e-1", false),
            ("9007199254740993.5", false),
            ("1e10000", false),
        ] {
            assert_eq!(Number::written(text).is_whole(), whole, "{text}");
        }
    }

    #[test]
    fn beyond_the_bounds_there_is_no_value() {
        let longest = "1".repeat(MAX_NUMBER_BYTES);
        assert!(Number::written(&longest).has_value());
        for beyond in [
            &format!("{longest}1"),
            "1e10000",
            "1e-10000",
            "1e99999999999999999999999",
        ] {
            let beyond = Number::written(beyond);
            assert!(!beyond.has_value(), "{beyond:?}");
            assert_eq!(beyond.compare(&beyond), None, "{beyond:?}");
        }
    }

    #[test]
    fn numbers_are_made_of_others() {
        assert_eq!(Number::from(-7).as_str(), "-7");
        assert_eq!(Number::of_f64(7.5).unwrap().as_str(), "7.5");
        assert_eq!(Number::of_f64(f64::INFINITY), None);
        assert_eq!(Number::written("42").as_u64(), Some(42));
        for no in ["-42", "4.2e1", "42.0", "18446744073709551616"] {
            assert_eq!(Number::written(no).as_u64(), None, "{no}");
        }
    }
}
