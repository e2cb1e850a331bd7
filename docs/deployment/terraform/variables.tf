variable "project" {
  description = "The project's id."
  type        = string
}

variable "region" {
  description = "Where everything runs."
  type        = string
  default     = "europe-west1"
}

variable "signaling_image" {
  description = "The image of the Dockerfile's target signaling."
  type        = string
}

variable "media_image" {
  description = "The image of the Dockerfile's target media."
  type        = string
}

variable "media_on" {
  description = "What media nodes run on: gce, or gke for a cluster to which docs/deployment/gke/media is applied."
  type        = string
  default     = "gce"

  validation {
    condition     = contains(["gce", "gke"], var.media_on)
    error_message = "media_on is gce or gke."
  }
}

variable "media_machine_type" {
  description = "A media node's machine. How many calls it holds: docs/deployment/sizing.md."
  type        = string
  default     = "t2d-standard-2"
}

variable "media_nodes" {
  description = "How many media nodes there are at least and at most."
  type        = object({ min = number, max = number })
  default     = { min = 2, max = 20 }
}

variable "signaling_instances" {
  description = "How many instances of signaling there are at least and at most."
  type        = object({ min = number, max = number })
  default     = { min = 2, max = 100 }
}

variable "allow_origins" {
  description = "Web origins that may call from a browser."
  type        = list(string)
}

variable "turn_domain" {
  description = "The TURN server's host name, whose address record is yours to set; empty for no TURN server."
  type        = string
  default     = ""
}

variable "turn_certificate_email" {
  description = "Whom the certificate authority writes to about the TURN server's certificate."
  type        = string
  default     = ""
}
