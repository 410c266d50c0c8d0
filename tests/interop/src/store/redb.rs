//! A store in one file: an embedded database that is locked by the process that has it open.

use std::path::Path;

use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction,
};

use super::ownership::Ownership;
use super::{Batch, Image, Store, StoreError, Stored};

/// FileId.Persistent, and when and what was stored.
type Records = TableDefinition<'static, u64, (u64, &'static [u8])>;

const RECORDS: Records = TableDefinition::new("records");
const ASIDE: Records = TableDefinition::new("aside");
const NUMBERS: TableDefinition<'static, &str, u64> = TableDefinition::new("numbers");
const BELOW: &str = "serials below";

/// A database file.
#[derive(Debug)]
pub struct RedbStore(Database);

impl RedbStore {
    /// Opens the file, or creates it. What a crash left half done is undone.
    ///
    /// # Errors
    ///
    /// If that cannot be, or another process has it open.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Database::create(path).map(Self).map_err(unusable)
    }

    fn write(&self, batch: &Batch) -> Result<(), redb::Error> {
        let mut transaction = self.0.begin_write()?;
        // On the medium when `commit` returns.
        transaction.set_durability(Durability::Immediate)?;
        fill(&transaction, batch)?;
        transaction.commit()?;
        Ok(())
    }

    fn read(&self) -> Result<Image, redb::Error> {
        let transaction = self.0.begin_read()?;
        let table = |name: Records| match transaction.open_table(name) {
            Ok(table) => table
                .iter()?
                .map(|entry| {
                    let (persistent, stored) = entry?;
                    let (since, octets) = stored.value();
                    Ok((persistent.value(), Stored { since, octets: octets.to_vec() }))
                })
                .collect(),
            Err(TableError::TableDoesNotExist(_)) => Ok(Default::default()),
            Err(error) => Err(redb::Error::from(error)),
        };
        let below = match transaction.open_table(NUMBERS) {
            Ok(numbers) => numbers.get(BELOW)?.map_or(0, |below| below.value()),
            Err(TableError::TableDoesNotExist(_)) => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(Image { records: table(RECORDS)?, aside: table(ASIDE)?, below })
    }
}

impl Store for RedbStore {
    fn load(&mut self) -> Result<Image, StoreError> {
        self.read().map_err(unusable)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.write(batch).map_err(|error| StoreError::Refused(error.to_string()))
    }

    fn room(&self) -> usize {
        1024
    }

    fn ownership(&self) -> Ownership {
        Ownership::forever()
    }
}

fn fill(transaction: &WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
    let mut records = transaction.open_table(RECORDS)?;
    for (persistent, stored) in &batch.records {
        match stored {
            Some(stored) => records.insert(persistent, (stored.since, stored.octets.as_slice()))?,
            None => records.remove(persistent)?,
        };
    }
    let mut aside = transaction.open_table(ASIDE)?;
    for (persistent, stored) in &batch.aside {
        aside.insert(persistent, (stored.since, stored.octets.as_slice()))?;
    }
    let mut numbers = transaction.open_table(NUMBERS)?;
    let below = numbers.get(BELOW)?.map_or(0, |below| below.value());
    if batch.below > below {
        numbers.insert(BELOW, batch.below)?;
    }
    Ok(())
}

fn unusable(error: impl std::fmt::Display) -> StoreError {
    StoreError::Unusable(error.to_string())
}
