resource "google_compute_network" "voxgender" {
  name                    = "voxgender"
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "voxgender" {
  name                     = "voxgender"
  network                  = google_compute_network.voxgender.id
  ip_cidr_range            = "10.10.0.0/16"
  private_ip_google_access = true

  secondary_ip_range {
    range_name    = "pods"
    ip_cidr_range = "10.20.0.0/16"
  }
  secondary_ip_range {
    range_name    = "services"
    ip_cidr_range = "10.30.0.0/20"
  }
}

# Media, from anywhere: each packet is checked by DTLS and SRTP.
resource "google_compute_firewall" "media" {
  name          = "voxgender-media"
  network       = google_compute_network.voxgender.name
  source_ranges = ["0.0.0.0/0"]
  target_tags   = ["voxgender-media"]

  allow {
    protocol = "udp"
    ports    = ["20000-29999"]
  }
}

# Signaling, from within the network; health checks and Prometheus too.
resource "google_compute_firewall" "signaling" {
  name    = "voxgender-signaling"
  network = google_compute_network.voxgender.name
  source_ranges = concat(
    [google_compute_subnetwork.voxgender.ip_cidr_range],
    google_compute_subnetwork.voxgender.secondary_ip_range[*].ip_cidr_range,
    # Google Cloud's health checks.
    ["130.211.0.0/22", "35.191.0.0/16"],
  )
  target_tags = ["voxgender-media"]

  allow {
    protocol = "tcp"
    ports    = ["8080"]
  }
}
