locals {
  turn_servers = var.turn_domain == "" ? [] : [
    "turn:${var.turn_domain}",
    "turn:${var.turn_domain}?transport=tcp",
    "turns:${var.turn_domain}?transport=tcp",
  ]
  signaling_environment = merge(
    {
      VOXGENDER_REGION       = var.region
      VOXGENDER_ALLOW_ORIGIN = join(",", var.allow_origins)
      # Cloud Run's own proxy, whose X-Forwarded-For tells callers' addresses.
      VOXGENDER_TRUSTED_PROXY = "169.254.0.0/16"
    },
    var.turn_domain == "" ? {} : { VOXGENDER_ICE_SERVER = join(",", local.turn_servers) },
  )
  signaling_secrets = merge(
    {
      VOXGENDER_SECRET     = "voxgender-secret"
      VOXGENDER_REGISTRY   = "voxgender-registry"
      VOXGENDER_JWT_SECRET = "voxgender-jwt-secret"
    },
    var.turn_domain == "" ? {} : { VOXGENDER_TURN_SECRET = "voxgender-turn-secret" },
  )
}

# As docs/deployment/cloud-run/service.yaml has it.
resource "google_cloud_run_v2_service" "signaling" {
  name                = "voxgender"
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_ALL"
  deletion_protection = false

  template {
    service_account                  = google_service_account.signaling.email
    timeout                          = "3600s"
    max_instance_request_concurrency = 500

    scaling {
      min_instance_count = var.signaling_instances.min
      max_instance_count = var.signaling_instances.max
    }

    vpc_access {
      egress = "PRIVATE_RANGES_ONLY"
      network_interfaces {
        network    = google_compute_network.voxgender.name
        subnetwork = google_compute_subnetwork.voxgender.name
      }
    }

    containers {
      image = var.signaling_image

      ports {
        container_port = 8080
      }

      resources {
        limits            = { cpu = "1", memory = "512Mi" }
        cpu_idle          = false
        startup_cpu_boost = true
      }

      dynamic "env" {
        for_each = local.signaling_environment
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = local.signaling_secrets
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = google_secret_manager_secret.voxgender[env.value].secret_id
              version = "latest"
            }
          }
        }
      }

      startup_probe {
        period_seconds    = 1
        timeout_seconds   = 1
        failure_threshold = 30
        http_get {
          path = "/health/live"
        }
      }

      liveness_probe {
        period_seconds    = 10
        timeout_seconds   = 3
        failure_threshold = 3
        http_get {
          path = "/health/live"
        }
      }
    }
  }

  depends_on = [google_secret_manager_secret_version.voxgender, google_secret_manager_secret_iam_member.reader]
}

# Callers are let in by voxgender itself, by their tokens.
resource "google_cloud_run_v2_service_iam_member" "anyone" {
  name     = google_cloud_run_v2_service.signaling.name
  location = var.region
  role     = "roles/run.invoker"
  member   = "allUsers"
}
