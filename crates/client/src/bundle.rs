//! An alliance's records as a file, out of a node and into another.

use futures::Stream;
use hutong_wire::merchant::v1::{
    ExportBundleRequest, ExportBundleResponse, ImportBundleRequest, ImportBundleResponse,
};
use tonic::Streaming;

use crate::{Client, Error};

impl Client {
    /// The pieces of a bundle, in order; it is whole when the stream has ended without an error.
    ///
    /// # Errors
    /// The node refuses, or cannot be reached.
    pub async fn export_bundle(
        &self,
        request: ExportBundleRequest,
    ) -> Result<Streaming<ExportBundleResponse>, Error> {
        Ok(self.node_at_leisure().export_bundle(request).await?.into_inner())
    }

    /// Has a node take in a bundle whose pieces come from `pieces`. The answers are to be read while the pieces are sent:
    /// the last one is the sum.
    ///
    /// # Errors
    /// The node refuses, or cannot be reached.
    pub async fn import_bundle(
        &self,
        pieces: impl Stream<Item = ImportBundleRequest> + Send + 'static,
    ) -> Result<Streaming<ImportBundleResponse>, Error> {
        Ok(self.node_at_leisure().import_bundle(pieces).await?.into_inner())
    }
}
