//! Thirteen nodes as thirteen processes, each with a data folder of its own.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::future::try_join_all;

use super::{
    link::Link,
    street::{SHOP_COUNT, Shop},
};
use crate::process::{self, NodeProcess, free_ports};

/// One shop's node.
#[derive(Debug)]
struct Node {
    folder: PathBuf,
    link: Arc<Link>,
    process: Option<NodeProcess>,
}

/// All nodes of the street. Dropping it kills them.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    nodes: Vec<Node>,
}

impl Fleet {
    /// Creates thirteen data folders below `home` and starts a node on each.
    pub(super) async fn start(&mut self, home: &Path) -> anyhow::Result<()> {
        let folder = |shop: Shop| home.join(shop.key());
        let ports = free_ports(SHOP_COUNT)?;
        try_join_all(Shop::all().zip(ports).map(|(shop, port)| async move {
            process::init(&folder(shop), shop.name(), shop.key(), port).await
        }))
        .await?;
        self.nodes = try_join_all(Shop::all().map(|shop| Node::launch(shop, folder(shop)))).await?;
        Ok(())
    }

    /// The tills' lines, in the order of [`Shop::all`].
    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        self.nodes.iter().map(|node| node.link.clone()).collect()
    }

    /// Kills one node with no warning (SIGKILL) and waits until it is gone.
    pub(super) async fn kill(&mut self, shop: Shop) -> anyhow::Result<()> {
        match self.nodes[shop.index()].process.take() {
            Some(mut process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Starts one node again on its data folder.
    pub(super) async fn restart(&mut self, shop: Shop) -> anyhow::Result<()> {
        let node = &mut self.nodes[shop.index()];
        let process = NodeProcess::start(&node.folder).await?;
        node.link.readdress(&process.address)?;
        node.process = Some(process);
        Ok(())
    }

    /// Kills every node and waits until all are gone.
    pub(super) async fn stop(&mut self) {
        for process in self.nodes.iter_mut().filter_map(|node| node.process.as_mut()) {
            // It is gone already, or dies now: either way there is nothing more to do.
            let _ = process.kill().await;
        }
        self.nodes.clear();
    }

    /// Lets go of the nodes: they go on after this process. Returns their process ids.
    pub(super) fn release(&mut self) -> Vec<u32> {
        self.nodes.drain(..).filter_map(|node| node.process?.release()).collect()
    }
}

impl Node {
    async fn launch(shop: Shop, folder: PathBuf) -> anyhow::Result<Self> {
        let process = NodeProcess::start(&folder).await?;
        let link = Arc::new(Link::new(shop, &process.address, &process.token)?);
        Ok(Self { folder, link, process: Some(process) })
    }
}
