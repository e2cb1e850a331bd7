# Media nodes on Compute Engine: one a machine, with a public address each.
data "google_compute_image" "container_optimized" {
  family  = "cos-stable"
  project = "cos-cloud"
}

resource "google_compute_instance_template" "media" {
  count        = var.media_on == "gce" ? 1 : 0
  name_prefix  = "voxgender-media-"
  machine_type = var.media_machine_type
  tags         = ["voxgender-media"]

  disk {
    source_image = data.google_compute_image.container_optimized.self_link
    disk_size_gb = 20
    auto_delete  = true
    boot         = true
  }

  network_interface {
    subnetwork = google_compute_subnetwork.voxgender.id
    # The public address, which the node asks the metadata server for.
    access_config {}
  }

  service_account {
    email  = google_service_account.media.email
    scopes = ["cloud-platform"]
  }

  metadata = {
    voxgender-image        = var.media_image
    google-logging-enabled = "true"
    startup-script         = file("${path.module}/../gce/startup.sh")
  }

  lifecycle {
    create_before_destroy = true
  }

  depends_on = [google_secret_manager_secret_version.voxgender, google_secret_manager_secret_iam_member.reader]
}

resource "google_compute_region_health_check" "media" {
  count               = var.media_on == "gce" ? 1 : 0
  name                = "voxgender-media"
  region              = var.region
  check_interval_sec  = 10
  timeout_sec         = 3
  healthy_threshold   = 1
  unhealthy_threshold = 6

  http_health_check {
    port         = 8080
    request_path = "/health/live"
  }
}

resource "google_compute_region_instance_group_manager" "media" {
  count              = var.media_on == "gce" ? 1 : 0
  name               = "voxgender-media"
  region             = var.region
  base_instance_name = "voxgender-media"

  version {
    instance_template = google_compute_instance_template.media[0].id
  }

  auto_healing_policies {
    health_check      = google_compute_region_health_check.media[0].id
    initial_delay_sec = 300
  }

  # New nodes first, one a zone; then an old one at a time is told to move its calls.
  update_policy {
    type                         = "PROACTIVE"
    minimal_action               = "REPLACE"
    instance_redistribution_type = "NONE"
    max_surge_fixed              = 3
    max_unavailable_fixed        = 0
  }

  lifecycle {
    ignore_changes = [target_size]
  }
}

resource "google_compute_region_autoscaler" "media" {
  count  = var.media_on == "gce" ? 1 : 0
  name   = "voxgender-media"
  region = var.region
  target = google_compute_region_instance_group_manager.media[0].id

  autoscaling_policy {
    min_replicas    = var.media_nodes.min
    max_replicas    = var.media_nodes.max
    cooldown_period = 120

    # A call's cost is CPU, and does not grow with the number of calls.
    cpu_utilization {
      target = 0.6
    }

    scale_in_control {
      time_window_sec = 600
      max_scaled_in_replicas {
        fixed = 1
      }
    }
  }
}
