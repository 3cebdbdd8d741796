//! The product table: in memory, and in a JSON file if one is named.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Largest table file read, in bytes. A thousand products are under 200 kB.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// One product. Its SKU is its key in the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// What it is called.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Its price in cents.
    pub price_cents: u64,
    /// Pieces in stock, by location.
    pub stock: BTreeMap<String, u64>,
}

/// Why a table could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file could not be read or written.
    #[error("the table file `{path}`: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than a table may be.
    #[error("the table file `{path}` is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// The file is no table.
    #[error(
        "the table file `{path}` is no product table: {source}\nhint: remove it to start from the sample products"
    )]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
}

/// Products by SKU. A change is in the file, if there is one, before it is answered.
#[derive(Debug)]
pub struct Table {
    products: BTreeMap<String, Product>,
    file: Option<PathBuf>,
}

impl Table {
    /// The sample products, in memory only.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            products: sample(),
            file: None,
        }
    }

    /// The table in the file at `path`; a file that is not there is made with the sample products.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn open(path: &Path) -> Result<Self, TableError> {
        let products = match std::fs::File::open(path) {
            Ok(file) => Some(read(path, file)?),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => return Err(failed(path, source)),
        };
        let mut table = Self {
            products: BTreeMap::new(),
            file: Some(path.to_owned()),
        };
        match products {
            Some(products) => table.products = products,
            None => table.replace(sample())?,
        }
        Ok(table)
    }

    /// The product with this SKU.
    #[must_use]
    pub fn product(&self, sku: &str) -> Option<&Product> {
        self.products.get(sku)
    }

    /// All SKUs, sorted.
    pub fn skus(&self) -> impl Iterator<Item = &str> {
        self.products.keys().map(String::as_str)
    }

    /// Sets a price and returns the old one; `None` for an unknown SKU.
    ///
    /// # Errors
    /// [`TableError::File`]; then nothing has changed.
    pub fn set_price(&mut self, sku: &str, cents: u64) -> Result<Option<u64>, TableError> {
        let mut products = self.products.clone();
        let Some(product) = products.get_mut(sku) else {
            return Ok(None);
        };
        let old = core::mem::replace(&mut product.price_cents, cents);
        self.replace(products)?;
        Ok(Some(old))
    }

    /// Removes a product and returns it; `None` for an unknown SKU.
    ///
    /// # Errors
    /// [`TableError::File`]; then nothing has changed.
    pub fn delete(&mut self, sku: &str) -> Result<Option<Product>, TableError> {
        let mut products = self.products.clone();
        let removed = products.remove(sku);
        if removed.is_some() {
            self.replace(products)?;
        }
        Ok(removed)
    }

    /// Writes first, so that a table that cannot be saved does not change.
    fn replace(&mut self, products: BTreeMap<String, Product>) -> Result<(), TableError> {
        if let Some(path) = &self.file {
            write(path, &products).map_err(|source| failed(path, source))?;
        }
        self.products = products;
        Ok(())
    }
}

fn failed(path: &Path, source: std::io::Error) -> TableError {
    TableError::File {
        path: path.to_owned(),
        source,
    }
}

fn read(path: &Path, file: std::fs::File) -> Result<BTreeMap<String, Product>, TableError> {
    let mut bytes = Vec::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|source| failed(path, source))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(TableError::TooLarge {
            path: path.to_owned(),
        });
    }
    serde_json::from_slice(&bytes).map_err(|source| TableError::Malformed {
        path: path.to_owned(),
        source,
    })
}

/// Beside the file, then over it: a reader sees the old table or the new one.
fn write(path: &Path, products: &BTreeMap<String, Product>) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(&serde_json::to_vec_pretty(products)?)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

fn sample() -> BTreeMap<String, Product> {
    let rows: [(&str, &str, &str, u64, [u64; 3]); 4] = [
        (
            "HR-1001",
            "Hedge shears",
            "Forged steel, 23 cm blades",
            3_490,
            [12, 40, 0],
        ),
        (
            "HR-1002",
            "Hawthorn, bare root",
            "Crataegus monogyna, 60 to 80 cm",
            189,
            [350, 0, 1200],
        ),
        (
            "HR-1003",
            "Garden gate",
            "Oak, 110 cm, with hinges",
            24_900,
            [3, 1, 0],
        ),
        (
            "HR-1004",
            "Jute twine",
            "Three-ply, 100 m",
            450,
            [80, 64, 25],
        ),
    ];
    let places = ["shop", "warehouse", "nursery"];
    rows.into_iter()
        .map(|(sku, name, description, price_cents, stock)| {
            let stock = places.into_iter().map(str::to_owned).zip(stock).collect();
            let product = Product {
                name: name.to_owned(),
                description: description.to_owned(),
                price_cents,
                stock,
            };
            (sku.to_owned(), product)
        })
        .collect()
}
