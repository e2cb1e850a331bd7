# One TURN server with a fixed address. What it does, and how to have more: docs/deployment/turn.md.
resource "google_compute_address" "turn" {
  count = var.turn_domain == "" ? 0 : 1
  name  = "voxgender-turn"
}

resource "google_compute_firewall" "turn" {
  count         = var.turn_domain == "" ? 0 : 1
  name          = "voxgender-turn"
  network       = google_compute_network.voxgender.name
  source_ranges = ["0.0.0.0/0"]
  target_tags   = ["voxgender-turn"]

  allow {
    protocol = "udp"
    ports    = ["3478", "49152-65535"]
  }
  allow {
    protocol = "tcp"
    # Port 80 is where the certificate authority looks.
    ports = ["80", "3478", "5349"]
  }
}

resource "google_compute_instance" "turn" {
  count        = var.turn_domain == "" ? 0 : 1
  name         = "voxgender-turn"
  zone         = "${var.region}-b"
  machine_type = "e2-small"
  tags         = ["voxgender-turn"]

  boot_disk {
    initialize_params {
      image = "debian-cloud/debian-12"
    }
  }

  network_interface {
    subnetwork = google_compute_subnetwork.voxgender.id
    access_config {
      nat_ip = google_compute_address.turn[0].address
    }
  }

  service_account {
    email  = google_service_account.turn.email
    scopes = ["cloud-platform"]
  }

  metadata = {
    turn-domain            = var.turn_domain
    turn-certificate-email = var.turn_certificate_email
    # Where media nodes are. Other private networks are closed to relays.
    turn-peers     = google_compute_subnetwork.voxgender.ip_cidr_range
    startup-script = file("${path.module}/../gce/turn.sh")
  }

  depends_on = [google_secret_manager_secret_version.voxgender, google_secret_manager_secret_iam_member.reader]
}
