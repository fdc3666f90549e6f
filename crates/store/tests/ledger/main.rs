//! The rules and the ledger together: several shops, each with its own copy of the alliance, and records that are
//! carried between them in any order.

#[cfg(test)]
mod cheats;
#[cfg(test)]
mod clearing;
#[cfg(test)]
mod conditions;
#[cfg(test)]
mod continuing;
#[cfg(test)]
mod convergence;
#[cfg(test)]
mod council;
#[cfg(test)]
mod credit;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod disputes;
#[cfg(test)]
mod evidence;
#[cfg(test)]
mod funding;
#[cfg(test)]
mod governance;
#[cfg(test)]
mod guests;
#[cfg(test)]
mod incarnations;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod ladder;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod lost;
#[cfg(test)]
mod modes;
#[cfg(test)]
mod nonsense;
#[cfg(test)]
mod numbers;
#[cfg(test)]
mod overriding;
#[cfg(test)]
mod privacy;
#[cfg(test)]
mod reasons;
#[cfg(test)]
mod rebuild;
#[cfg(test)]
mod rights_till;
#[cfg(test)]
mod settlement;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod signing;
#[cfg(test)]
mod street;
#[cfg(test)]
mod till;
#[cfg(test)]
mod told;
#[cfg(test)]
mod trade;
#[cfg(test)]
mod uses;
