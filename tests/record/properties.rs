//! What holds for any record of either form.

use arbitrary::Unstructured;
use leasehold::persist::{ClientRecord, Record, RecordError};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::bodies::record::{self, Form};

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "proptest-regressions/record.txt",
        ))),
        ..ProptestConfig::default()
    }
}

fn records<R: Form>() -> impl Strategy<Value = R> {
    vec(any::<u8>(), 0..700).prop_map(|octets| R::draw(&mut Unstructured::new(&octets)))
}

macro_rules! properties {
    ($form:ident, $record:ty) => {
        mod $form {
            use super::*;

            type R = $record;

            proptest! {
                #![proptest_config(config())]

                #[test]
                fn a_record_comes_back(value in records::<R>()) {
                    record::comes_back(&value);
                }

                #[test]
                fn a_record_cut_short_is_refused(value in records::<R>(), cut in any::<prop::sample::Index>()) {
                    let octets = value.encode();
                    record::assert_cut_short::<R>(&octets, cut.index(octets.len()));
                }

                #[test]
                fn a_record_with_another_bit_is_refused(value in records::<R>(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
                    let octets = value.encode();
                    prop_assert!(R::decode(&record::flipped(&octets, at.index(octets.len()), bit)).is_err());
                }

                #[test]
                fn octets_behind_a_record_are_refused(value in records::<R>(), behind in vec(any::<u8>(), 1..40)) {
                    let mut octets = value.encode();
                    let (len, form) = (octets.len() as u32, R::FORM);
                    octets.extend(behind);
                    let had = octets.len() as u32;
                    prop_assert_eq!(R::decode(&octets), Err(RecordError::Trailing { form, len, had }));
                }

                #[test]
                fn a_changed_octet_is_judged_as_specified(value in records::<R>(), at in any::<prop::sample::Index>(), new in any::<u8>()) {
                    let mut octets = value.encode();
                    let at = at.index(octets.len() - 4);
                    octets[at] = new;
                    record::judged_as_specified::<R>(&octets);
                    record::judged_as_specified::<R>(&record::mended(octets));
                }

                #[test]
                fn any_octets_keep_the_laws(octets in vec(any::<u8>(), 0..700)) {
                    record::record::<R>(&octets);
                }

                #[cfg(feature = "arbitrary")]
                #[test]
                fn whatever_arbitrary_makes_comes_back(octets in vec(any::<u8>(), 0..700)) {
                    use arbitrary::Arbitrary;

                    if let Ok(value) = R::arbitrary(&mut Unstructured::new(&octets)) {
                        record::comes_back(&value);
                    }
                }

                #[cfg(feature = "seal")]
                #[test]
                fn a_sealed_record_comes_back_with_its_key_only(
                    value in records::<R>(),
                    damage in any::<u16>(),
                    bit in any::<u8>(),
                    cut in any::<u16>(),
                ) {
                    record::sealed_laws(&value, damage.into(), bit, cut);
                }

                #[cfg(feature = "seal")]
                #[test]
                fn what_was_not_sealed_is_not_unsealed(octets in vec(any::<u8>(), 0..400)) {
                    record::unsealed::<R>(&octets);
                }
            }
        }
    };
}

properties!(server, Record);
properties!(client, ClientRecord);
