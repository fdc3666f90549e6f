//! The contract of journal and views, run over both twins of each, and what is promised when disks and processes fail.

#[cfg(test)]
mod branches;
#[cfg(test)]
mod corruption;
#[cfg(test)]
mod disk;
#[cfg(test)]
#[path = "../../../../tests/vectors/golden.rs"]
mod golden;
#[cfg(test)]
mod healing;
#[cfg(test)]
mod journal_contract;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod power;
#[cfg(test)]
mod shops;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod views;
