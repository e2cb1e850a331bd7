# A cluster whose machines have public addresses. What runs on it: docs/deployment/gke.md.
resource "google_container_cluster" "voxgender" {
  count                    = var.media_on == "gke" ? 1 : 0
  name                     = "voxgender"
  location                 = var.region
  network                  = google_compute_network.voxgender.id
  subnetwork               = google_compute_subnetwork.voxgender.id
  initial_node_count       = 1
  remove_default_node_pool = true
  deletion_protection      = false

  ip_allocation_policy {
    cluster_secondary_range_name  = "pods"
    services_secondary_range_name = "services"
  }
}

# For all but media: signaling, Prometheus, KEDA.
resource "google_container_node_pool" "other" {
  count      = var.media_on == "gke" ? 1 : 0
  name       = "other"
  cluster    = google_container_cluster.voxgender[0].id
  node_count = 1

  node_config {
    machine_type    = "e2-standard-2"
    service_account = google_service_account.media.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
  }
}

resource "google_container_node_pool" "media" {
  count   = var.media_on == "gke" ? 1 : 0
  name    = "media"
  cluster = google_container_cluster.voxgender[0].id

  autoscaling {
    total_min_node_count = var.media_nodes.min
    total_max_node_count = var.media_nodes.max
  }

  node_config {
    machine_type    = var.media_machine_type
    service_account = google_service_account.media.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    tags            = ["voxgender-media"]
    labels          = { voxgender = "media" }

    taint {
      key    = "voxgender"
      value  = "media"
      effect = "NO_SCHEDULE"
    }
  }

  network_config {
    enable_private_nodes = false
  }

  upgrade_settings {
    max_surge       = 1
    max_unavailable = 0
  }
}
