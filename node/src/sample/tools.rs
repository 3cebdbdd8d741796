//! The four tools: what they say of themselves, and what they do.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::server::RpcError;
use super::table::{Table, TableError};

/// Highest price taken, in cents: ten million.
const MAX_PRICE_CENTS: u64 = 1_000_000_000;

/// Longest SKU or location taken, in bytes.
const MAX_KEY_BYTES: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sku {
    sku: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stock {
    sku: String,
    location: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Price {
    sku: String,
    price: Value,
}

/// The tool definitions, as `tools/list` gives them.
pub(super) fn definitions() -> Value {
    let sku = json!({
        "type": "string", "minLength": 1, "maxLength": MAX_KEY_BYTES,
        "description": "Stock keeping unit, such as HR-1001",
    });
    let price = json!({
        "type": "string", "pattern": "^[0-9]+\\.[0-9]{2}$", "description": "Amount in euros",
    });
    let info = [
        ("sku", &sku),
        ("name", &text()),
        ("description", &text()),
        ("price", &price),
    ];
    let location = json!({
        "type": "string", "minLength": 1, "maxLength": MAX_KEY_BYTES,
        "description": "One location only, such as warehouse",
    });
    let new_price = json!({
        "type": ["string", "number"], "pattern": "^[0-9]{1,8}(\\.[0-9]{1,2})?$", "minimum": 0,
        "description": "New price in euros with at most two decimals, such as 34.90",
    });
    let count = json!({ "type": "integer", "minimum": 0 });
    let stock = json!({ "type": "object", "additionalProperties": count });
    let deleted = json!({ "type": "boolean" });
    json!([
        tool(
            "get_product_info",
            [
                "Product information",
                "Name, description and price of one product."
            ],
            [&object(&[("sku", &sku)], &["sku"]), &all(&info)],
            json!({ "readOnlyHint": true, "openWorldHint": false }),
        ),
        tool(
            "check_inventory",
            [
                "Inventory",
                "Pieces in stock of one product, everywhere or at one location."
            ],
            [
                &object(&[("sku", &sku), ("location", &location)], &["sku"]),
                &all(&[("sku", &sku), ("stock", &stock), ("total", &count)]),
            ],
            json!({ "readOnlyHint": true, "openWorldHint": false }),
        ),
        tool(
            "update_price",
            [
                "Change a price",
                "Sets the price of one product and says what it was."
            ],
            [
                &all(&[("sku", &sku), ("price", &new_price)]),
                &all(&[("sku", &sku), ("old_price", &price), ("new_price", &price)]),
            ],
            changing(true),
        ),
        tool(
            "delete_record",
            [
                "Delete a product",
                "Removes one product from the table for good."
            ],
            [
                &object(&[("sku", &sku)], &["sku"]),
                &all(&[("sku", &sku), ("deleted", &deleted)]),
            ],
            changing(false),
        ),
    ])
}

fn text() -> Value {
    json!({ "type": "string" })
}

/// The hints of a tool that overwrites or removes.
fn changing(idempotent: bool) -> Value {
    json!({
        "readOnlyHint": false, "destructiveHint": true,
        "idempotentHint": idempotent, "openWorldHint": false,
    })
}

fn tool(name: &str, words: [&str; 2], schemas: [&Value; 2], annotations: Value) -> Value {
    let ([title, description], [input, output]) = (words, schemas);
    json!({
        "name": name, "title": title, "description": description,
        "inputSchema": input, "outputSchema": output, "annotations": annotations,
    })
}

fn object(properties: &[(&str, &Value)], required: &[&str]) -> Value {
    let properties: serde_json::Map<String, Value> = properties
        .iter()
        .map(|&(k, v)| (k.to_owned(), v.clone()))
        .collect();
    json!({
        "type": "object", "properties": properties, "required": required,
        "additionalProperties": false,
    })
}

/// An object schema with every property required.
fn all(properties: &[(&str, &Value)]) -> Value {
    let required: Vec<&str> = properties.iter().map(|&(k, _)| k).collect();
    object(properties, &required)
}

/// Calls the tool `name` and returns the result of `tools/call`. What a caller can get wrong about
/// the products is a result with `isError`, so that a model can read it and try again.
pub(super) fn call(name: &str, arguments: Value, table: &mut Table) -> Result<Value, RpcError> {
    match name {
        "get_product_info" => {
            let Sku { sku } = read(name, arguments)?;
            Ok(product_info(&sku, table))
        }
        "check_inventory" => {
            let Stock { sku, location } = read(name, arguments)?;
            Ok(inventory(&sku, location.as_deref(), table))
        }
        "update_price" => {
            let Price { sku, price } = read(name, arguments)?;
            let cents = cents(&price).ok_or_else(|| {
                RpcError::invalid_params("`price` must be an amount such as 34.90")
            })?;
            Ok(match table.set_price(&sku, cents) {
                Ok(Some(old)) => done(json!({
                    "sku": sku, "old_price": euros(old), "new_price": euros(cents),
                })),
                other => not_done(&sku, other.err(), table),
            })
        }
        "delete_record" => {
            let Sku { sku } = read(name, arguments)?;
            Ok(match table.delete(&sku) {
                Ok(Some(_)) => done(json!({ "sku": sku, "deleted": true })),
                other => not_done(&sku, other.err(), table),
            })
        }
        _ => Err(RpcError::invalid_params(format!("unknown tool `{name}`"))),
    }
}

fn read<T: DeserializeOwned>(tool: &str, arguments: Value) -> Result<T, RpcError> {
    let too_long = |key: &str| {
        let text = arguments.get(key).and_then(Value::as_str);
        text.is_some_and(|t| t.is_empty() || t.len() > MAX_KEY_BYTES)
    };
    if let Some(key) = ["sku", "location"].into_iter().find(|key| too_long(key)) {
        let message = format!("`{key}` must have 1 to {MAX_KEY_BYTES} bytes");
        return Err(RpcError::invalid_params(message));
    }
    serde_json::from_value(arguments)
        .map_err(|e| RpcError::invalid_params(format!("bad arguments for `{tool}`: {e}")))
}

fn product_info(sku: &str, table: &Table) -> Value {
    let Some(product) = table.product(sku) else {
        return not_done(sku, None, table);
    };
    done(json!({
        "sku": sku, "name": product.name, "description": product.description,
        "price": euros(product.price_cents),
    }))
}

fn inventory(sku: &str, location: Option<&str>, table: &Table) -> Value {
    let Some(product) = table.product(sku) else {
        return not_done(sku, None, table);
    };
    if let Some(place) = location.filter(|place| !product.stock.contains_key(*place)) {
        let known: Vec<&str> = product.stock.keys().map(String::as_str).collect();
        return failed(&format!(
            "no location `{place}`; there are {}",
            known.join(", ")
        ));
    }
    let stock: serde_json::Map<String, Value> = product
        .stock
        .iter()
        .filter(|(place, _)| location.is_none_or(|wanted| wanted == *place))
        .map(|(place, pieces)| (place.clone(), Value::from(*pieces)))
        .collect();
    let total = stock
        .values()
        .filter_map(Value::as_u64)
        .fold(0, u64::saturating_add);
    done(json!({ "sku": sku, "stock": stock, "total": total }))
}

/// The same value twice, as the specification asks: structured, and as text for older clients.
fn done(value: Value) -> Value {
    let text = value.to_string();
    json!({ "content": [{ "type": "text", "text": text }], "structuredContent": value, "isError": false })
}

/// The table did not change: it could not be saved, or there is no such product.
fn not_done(sku: &str, error: Option<TableError>, table: &Table) -> Value {
    /// Most SKUs named to a caller who asked for another.
    const NAMED: usize = 8;
    match error {
        Some(error) => failed(&format!("nothing was changed: {error}")),
        None => {
            let some: Vec<&str> = table.skus().take(NAMED).collect();
            failed(&format!(
                "no product with SKU `{sku}`; there are {}",
                some.join(", ")
            ))
        }
    }
}

fn failed(message: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": message }], "isError": true })
}

/// Cents of an amount given as text or as a JSON number, whose text is read: no arithmetic on
/// floats.
fn cents(price: &Value) -> Option<u64> {
    let text = match price {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    // `12.0` for 12 is how some clients write a whole number, and two decimals are cents.
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, "0"));
    let digits = |t: &str, most: usize| {
        (1..=most).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit())
    };
    if !digits(whole, 8) || !digits(fraction, 2) {
        return None;
    }
    let tenths = if fraction.len() == 1 { 10 } else { 1 };
    let fraction = fraction.parse::<u64>().ok()?.checked_mul(tenths)?;
    let cents = whole
        .parse::<u64>()
        .ok()?
        .checked_mul(100)?
        .checked_add(fraction)?;
    (cents <= MAX_PRICE_CENTS).then_some(cents)
}

fn euros(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_read_exactly() {
        for (given, expected) in [
            (json!("34.90"), Some(3490)),
            (json!(34.9), Some(3490)),
            (json!(34), Some(3400)),
            (json!(12.0), Some(1200)),
            (json!("0.05"), Some(5)),
            (json!("0"), Some(0)),
            (json!("10000000.00"), Some(MAX_PRICE_CENTS)),
            (json!("10000000.01"), None),
            (json!("1.005"), None),
            (json!(0.1 + 0.2), None),
            (json!("-1"), None),
            (json!("+1"), None),
            (json!(""), None),
            (json!("."), None),
            (json!("1."), None),
            (json!("1e3"), None),
            (json!("999999999"), None),
            (json!(null), None),
        ] {
            assert_eq!(cents(&given), expected, "{given}");
        }
        assert_eq!(euros(5), "0.05");
    }
}
