locals {
  secrets = {
    voxgender-secret      = random_password.secret["fleet"].result
    voxgender-turn-secret = random_password.secret["turn"].result
    voxgender-jwt-secret  = random_password.secret["jwt"].result
    voxgender-registry    = "redis://:${google_redis_instance.registry.auth_string}@${google_redis_instance.registry.host}:${google_redis_instance.registry.port}"
  }
  # Who reads what.
  readers = merge(
    { for name in keys(local.secrets) : "signaling/${name}" => { name = name, member = google_service_account.signaling.member } },
    { for name in ["voxgender-secret", "voxgender-registry"] : "media/${name}" => { name = name, member = google_service_account.media.member } },
    { "turn/voxgender-turn-secret" = { name = "voxgender-turn-secret", member = google_service_account.turn.member } },
  )
}

resource "random_password" "secret" {
  for_each = toset(["fleet", "turn", "jwt"])
  length   = 48
  special  = false
}

resource "google_secret_manager_secret" "voxgender" {
  for_each  = toset(["voxgender-secret", "voxgender-turn-secret", "voxgender-jwt-secret", "voxgender-registry"])
  secret_id = each.value

  replication {
    auto {}
  }
}

resource "google_secret_manager_secret_version" "voxgender" {
  for_each    = google_secret_manager_secret.voxgender
  secret      = each.value.id
  secret_data = local.secrets[each.key]
}

resource "google_secret_manager_secret_iam_member" "reader" {
  for_each  = local.readers
  secret_id = google_secret_manager_secret.voxgender[each.value.name].id
  role      = "roles/secretmanager.secretAccessor"
  member    = each.value.member
}

resource "google_service_account" "signaling" {
  account_id   = "voxgender-signaling"
  display_name = "voxgender signaling"
}

resource "google_service_account" "media" {
  account_id   = "voxgender-media"
  display_name = "voxgender media nodes"
}

resource "google_service_account" "turn" {
  account_id   = "voxgender-turn"
  display_name = "voxgender TURN server"
}

# Images, and what machines write of themselves.
resource "google_project_iam_member" "media" {
  for_each = toset(["roles/artifactregistry.reader", "roles/logging.logWriter", "roles/monitoring.metricWriter"])
  project  = var.project
  role     = each.value
  member   = google_service_account.media.member
}
