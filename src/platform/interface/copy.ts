export interface CopyCalls {}
